"""`pool=s1_59k`: s1's published pool of 59K questions with its features, from the hub.

The questions and traces (58,986 rows, 9 GB) and the features (verdicts of Qwen2.5-7B and -32B and
of the teacher, trace length, domain) are two data sets; they are joined on the question's text, of
which s1 uses the hash. Selecting needs no GPU and no API key.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError
from s1x.option import Option, option, setting
from s1x.pool.columns import ALIASES
from s1x.pool.files import FORMAT
from s1x.pool.hub import DataSet, load, version
from s1x.pool.rows import Row, write_rows

if TYPE_CHECKING:
    import datasets

POOL_COLUMNS = {
    "question": "question",
    "solution": "solution",
    "reasoning_trace": "thinking_trajectories",
    "attempt": "attempt",
    "source": "source_type",
}
FEATURES = (
    "is_correct_qwen2_5_7b",
    "is_correct_qwen2_5_32b",
    "attempt_is_correct",
    "trace_tokens",
    "domain",
)


@option("pool", "s1_59k")
@dataclass(frozen=True)
class S159K(Option):
    """The paper's pool (section 2.1); needs the hub once, then its cache."""

    dataset: str = setting("simplescaling/data_ablation_full59K", "questions, traces, attempts")
    features: str = setting("qfq/train_featurized", "verdicts, trace lengths and domains")
    revision: str | None = setting(None, "commit of the questions; None: the newest")
    features_revision: str | None = setting(None, "commit of the features; None: the newest")
    max_rows: int | None = setting(None, "read only the first N rows", at_least=1)
    max_bad_fraction: float = setting(
        0.05, "share of unreadable rows that is put up with", at_least=0, at_most=1
    )

    def fingerprint(self) -> dict[str, Any]:
        """The commits of both data sets.

        Raises:
            UserError: the hub cannot be reached and they are not in the local cache.
        """
        return {
            "pool": "s1_59k",
            "format": FORMAT,
            "dataset": version(self.dataset, self.revision),
            "features": version(self.features, self.features_revision),
            "max_rows": self.max_rows,
            "max_bad_fraction": self.max_bad_fraction,
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the joined pool; a question without features keeps nulls there.

        Raises:
            UserError: a data set that cannot be loaded or lacks a column.
        """
        rows = load(self.dataset, None, "train", self.revision)
        features = load(self.features, None, "train", self.features_revision)
        _need(rows.column_names, POOL_COLUMNS.values(), self.dataset)
        columns = _feature_columns(features.column_names, self.features)
        known = _by_question(features, columns)
        others = {n: n for n in ("cot_type", "metadata") if n in rows.column_names}
        about = {
            "name": f"{self.dataset} + {self.features}",
            "kind": "s1_59k",
            "columns": {**POOL_COLUMNS, **columns},
            "license": "as given by the 16 sources; see the data set's card on the hub",
        }
        joined = itertools.islice(_joined(DataSet(self.dataset, rows), known), self.max_rows)
        mapping = {**POOL_COLUMNS, **{name: f"features.{name}" for name in FEATURES}}
        return write_rows(joined, mapping, others, folder, self.max_bad_fraction, about)


def _need(found: Collection[str], columns: Collection[str], where: str) -> None:
    missing = sorted(set(columns) - set(found))
    if missing:
        raise UserError(
            f"pool=s1_59k: {where} has no column {missing[0]}; give the revision that has it, "
            "or load it by pool=hub with pool.columns"
        )


def _feature_columns(found: Collection[str], where: str) -> dict[str, str]:
    """{our name: the data set's}, in whichever spelling it has: `isgeminicorrect` was published
    as `isgenminicorrect`."""
    columns = {}
    for name in FEATURES:
        spellings = ALIASES.get(name, (name,))
        columns[name] = next((s for s in spellings if s in found), spellings[0])
    _need(found, ["question", *columns.values()], where)
    return columns


def _by_question(
    features: datasets.Dataset, columns: Mapping[str, str]
) -> dict[str, dict[str, object]]:
    table = features.select_columns(["question", *columns.values()])
    known: dict[str, dict[str, object]] = {}
    for row in DataSet("features", table).rows():
        if isinstance(row.values, Mapping):
            own = {ours: row.values[theirs] for ours, theirs in columns.items()}
            known.setdefault(str(row.values["question"]), own)
    return known


def _joined(rows: DataSet, known: Mapping[str, Mapping[str, object]]) -> Iterator[Row]:
    for row in rows.rows():
        if isinstance(row.values, Mapping):
            features = known.get(str(row.values["question"]), {})
            row = row._replace(values={**row.values, "features": features})
        yield row
