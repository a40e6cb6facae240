"""`pool=s1_59k`: s1's published pool of 59K questions with its features, from the hub.

The questions and traces (58,986 rows, 9 GB) and the features (verdicts of Qwen2.5-7B and -32B and
of the teacher, trace length, domain) are two data sets; they are joined on the question's text, of
which s1 uses the hash. Selecting needs no GPU and no API key.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from s1x.errors import UserError
from s1x.hub import load_dataset
from s1x.option import Option, option, setting
from s1x.pool.columns import recognized, schema
from s1x.pool.hub import table_rows, version
from s1x.pool.pool import FORMAT
from s1x.pool.writer import PoolWriter, Row

POOL_COLUMNS = ("question", "solution", "reasoning_trace", "attempt", "source")
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

    def fingerprint(self) -> dict[str, object]:
        """The commits of both data sets, and what is read of them."""
        return {
            "pool": "s1_59k",
            "format": FORMAT,
            "dataset": version(self.dataset, self.revision),
            "features": version(self.features, self.features_revision),
            "max_rows": self.max_rows,
            "max_bad_fraction": self.max_bad_fraction,
        }

    def write(self, folder: Path) -> dict[str, object]:
        """Writes the joined pool; a question without features has nulls there."""
        rows = load_dataset("pool", self.dataset, None, "train", self.revision)
        features = load_dataset("pool", self.features, None, "train", self.features_revision)
        own = _columns(rows.column_names, POOL_COLUMNS, self.dataset)
        columns = _columns(features.column_names, ("question", *FEATURES), self.features)
        table = features.select_columns(list(columns.values()))
        known: dict[object, Mapping[str, object]] = {}
        for row in table_rows(table, self.features):
            if isinstance(row.values, Mapping):
                known.setdefault(row.values["question"], row.values)

        def joined() -> Iterator[Row]:
            for row in itertools.islice(table_rows(rows, self.dataset), self.max_rows):
                if isinstance(row.values, Mapping):
                    found = known.get(row.values["question"], {})
                    row = row._replace(values={**row.values, "features": found})
                yield row

        del columns["question"]
        about = {
            "name": f"{self.dataset} + {self.features}",
            "kind": "s1_59k",
            "columns": {**own, **columns},
            "license": "as given by the 16 sources; see the data set's card on the hub",
        }
        mapping = own | {ours: f"features.{theirs}" for ours, theirs in columns.items()}
        others = {n: n for n in ("cot_type", "metadata") if n in rows.column_names}
        with PoolWriter(folder, schema(mapping, others)) as writer:
            writer.add_rows(joined(), mapping, others)
            return writer.finish(self.max_bad_fraction, about)


def _columns(names: Sequence[str], wanted: Sequence[str], where: str) -> dict[str, str]:
    """{our name: the data set's}, in whichever spelling it has."""
    known = recognized(names)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UserError(
            f"pool=s1_59k: {where} has no column {missing[0]}; give the revision that has it, "
            "or load it by pool=hub with pool.columns"
        )
    return {name: known[name] for name in wanted}
