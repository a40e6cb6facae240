"""Small pools, recipes and steps for the tests of selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from s1x.benchmark.problem import Problem
from s1x.selection import Recipe
from s1x.selection.stage import Choice, choose
from s1x.selection.step import Context
from s1x.selection.table import PoolTable

CONF = Path(__file__).resolve().parents[2] / "conf" / "selection"


def write_pool(
    folder: Path, columns: Mapping[str, Any], rows_per_group: int = 1000, parts: int = 1
) -> Path:
    """A pool folder with these columns, in so many parts and row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))
    size = -(-table.num_rows // parts)
    for part in range(parts):
        path = folder / f"part-{part:05d}.parquet"
        pq.write_table(table.slice(part * size, size), path, row_group_size=rows_per_group)
    return folder


def shipped(name: str, **changed: Any) -> Recipe:
    """A recipe of conf/selection."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    del values["defaults"]
    return Recipe(**{**values, **changed})


def problems(*questions: str) -> list[Problem]:
    """A benchmark of these questions."""
    return [Problem(str(i), q, "", "") for i, q in enumerate(questions)]


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


def reasons(choice: Choice) -> dict[str, int]:
    """Reasons of the last step."""
    found: dict[str, int] = choice.funnel[-1]["reasons"]
    return found


def kept(choice: Choice) -> list[int]:
    """Numbers of the rows that are left."""
    return [int(n) for n in choice.rows]
