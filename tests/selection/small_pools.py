"""Small pools, recipes and steps for the tests of selection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from s1x.benchmark.problem import Problem
from s1x.selection.recipe import Recipe
from s1x.selection.stage import Choice

CONF = Path(__file__).resolve().parents[2] / "conf" / "selection"


def write_pool(
    folder: Path, columns: Mapping[str, Any], rows_per_group: int = 1000, parts: int = 1
) -> Path:
    """A pool folder with these columns, in N parts and row groups."""
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


def reasons(choice: Choice) -> dict[str, int]:
    """Reasons of the last step."""
    found: dict[str, int] = choice.funnel[-1]["reasons"]
    return found


def details(choice: Choice) -> dict[int, str]:
    """What was found at each row that the steps dropped."""
    frame = pl.concat(choice.dropped).drop_nulls("detail")
    return dict(frame.select("row", "detail").iter_rows())


def kept(choice: Choice) -> list[int]:
    """Numbers of the rows that are left."""
    return [int(n) for n in choice.rows]
