"""Running steps on columns, for the tests of selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_pools import write_pool

from s1x.benchmark.problem import Problem
from s1x.selection.recipe import Recipe
from s1x.selection.stage import Choice, choose
from s1x.selection.step import Context
from s1x.selection.table import PoolTable

Apply = Callable[..., Choice]


@pytest.fixture
def apply(tmp_path: Path) -> Apply:
    """Runs steps on columns: `apply(columns, {"step": ...}, ...)`."""

    written: dict[tuple[int, tuple[int, int]], Path] = {}

    def pool(columns: Mapping[str, Any], layout: tuple[int, int]) -> Path:
        key = (id(columns), layout)
        if key not in written:
            written[key] = write_pool(tmp_path / f"pool-{len(written)}", columns, *layout)
        return written[key]

    def run(
        columns: Mapping[str, Any],
        *steps: Mapping[str, Any],
        seed: int = 0,
        size: int | None = None,
        benchmarks: Mapping[str, Sequence[Problem]] | None = None,
        tokenizer: Any = None,
        layout: tuple[int, int] = (1000, 1),
        notes: list[str] | None = None,
    ) -> Choice:
        table = PoolTable(pool(columns, layout))
        recipe = Recipe(size=size, steps=list(steps))
        context = Context(
            seed, size, benchmarks or {}, tokenizer, notes if notes is not None else []
        )
        return choose(table, recipe.built(), context)

    return run
