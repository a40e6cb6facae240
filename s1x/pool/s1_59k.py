"""`pool=s1_59k`: s1's published pool of 59K questions with its features, from the hub.

The questions and traces (58,986 rows, 9 GB) and the features (verdicts of Qwen2.5-7B and -32B and
of the teacher, trace length, domain) are two data sets; they are joined on the question's text, of
which s1 uses the hash. Selecting needs no GPU and no API key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError
from s1x.option import Option, option, setting
from s1x.pool.arrow import write_batches
from s1x.pool.files import FORMAT
from s1x.pool.hub import load, stream, version

if TYPE_CHECKING:
    import pyarrow as pa

POOL_COLUMNS = {
    "question": "question",
    "solution": "solution",
    "reasoning_trace": "thinking_trajectories",
    "attempt": "attempt",
    "source": "source_type",
}
FEATURE_COLUMNS = {
    "is_correct_qwen2_5_7b": "isqwen7bcorrect",
    "is_correct_qwen2_5_32b": "isqwen32bcorrect",
    "attempt_is_correct": "isgeminicorrect",
    "trace_tokens": "gemini_length",
    "domain": "domain",
}


@option("pool", "s1_59k")
@dataclass(frozen=True)
class S159K(Option):
    """The paper's pool (section 2.1); needs the hub once, then its cache."""

    dataset: str = setting("simplescaling/data_ablation_full59K", "questions, traces, attempts")
    features: str = setting("qfq/train_featurized", "verdicts, trace lengths and domains")
    revision: str | None = setting(None, "commit of the questions; None: the newest")
    features_revision: str | None = setting(None, "commit of the features; None: the newest")
    max_rows: int | None = setting(None, "read only so many rows", at_least=1)
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
        _need(rows.column_names, POOL_COLUMNS, self.dataset)
        _need(features.column_names, {"question": "question", **FEATURE_COLUMNS}, self.features)
        others = [n for n in ("cot_type", "metadata") if n in rows.column_names]
        table = features.select_columns(["question", *FEATURE_COLUMNS.values()])
        lookup = table.with_format("arrow")[:].combine_chunks()
        batches = _join(stream(rows, self.dataset, self.max_rows), lookup)
        mapping = {**POOL_COLUMNS, **FEATURE_COLUMNS}
        about = {
            "name": f"{self.dataset} + {self.features}",
            "kind": "s1_59k",
            "columns": mapping,
            "license": "as given by the 16 sources; see the data set's card on the hub",
        }
        return write_batches(batches, mapping, others, folder, self.max_bad_fraction, about)


def _need(found: Iterable[str], columns: dict[str, str], where: str) -> None:
    missing = sorted(set(columns.values()) - set(found))
    if missing:
        raise UserError(
            f"pool=s1_59k: {where} has no column {missing[0]}; give the revision that has it, "
            "or load it by pool=hub with pool.columns"
        )


def _join(
    batches: Iterator[tuple[str, int, pa.RecordBatch]], features: pa.Table
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    questions = features.column("question").combine_chunks().cast(pa.string())
    for file, first, batch in batches:
        asked = batch.column("question").cast(pa.string())
        place = pc.index_in(asked, value_set=questions)
        columns = {
            n: batch.column(n) for n in batch.schema.names if n not in FEATURE_COLUMNS.values()
        }
        for name in FEATURE_COLUMNS.values():
            values = features.column(name).combine_chunks()
            columns[name] = values.take(place)
        yield file, first, pa.RecordBatch.from_pydict(columns)
