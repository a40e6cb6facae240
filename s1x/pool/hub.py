"""`pool=hub`: a data set of the Hugging Face hub (or a local folder that `datasets` can load).

python run.py +experiment=s1k pool=hub pool.dataset=simplescaling/s1K-1.1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from s1x.hub import cached_commit, dataset_info, load_dataset, unreachable
from s1x.option import option, setting
from s1x.pool.columns import Found
from s1x.pool.parquet import BATCH_ROWS, arrow_names, arrow_rows
from s1x.pool.pool import MappedPool, hashes
from s1x.pool.writer import Row

if TYPE_CHECKING:
    import datasets


@option("pool", "hub")
@dataclass(frozen=True)
class Hub(MappedPool):
    """A pool on the hub, memory-mapped by `datasets`; `columns` maps our names to its own."""

    kind: ClassVar[str] = "hub"

    dataset: str = setting(doc="hub id or local folder", remedy="set pool.dataset=<owner/name>")
    config_name: str | None = setting(None, "configuration of the data set")
    split: str = setting("train", "split of the data set")
    revision: str | None = setting(None, "commit or tag; None: the newest")

    def version(self) -> dict[str, object]:
        """The data set's commit (or the hashes of a local folder), configuration and split."""
        found = version(self.dataset, self.revision)
        return {"dataset": found, "config_name": self.config_name, "split": self.split}

    def source(self, nested: set[str]) -> tuple[str, Found, Iterator[Row]]:
        """The columns of its schema, and all rows, straight from its memory map."""
        table = load_dataset("pool", self.dataset, self.config_name, self.split, self.revision)
        found = arrow_names(table.features.arrow_schema, self.dataset)
        return self.dataset, found, table_rows(table, self.dataset)

    def licence(self) -> str | None:
        """The one that is set, else that of the data set's card, if it can be asked."""
        if self.license or Path(self.dataset).is_dir():
            return self.license
        try:
            card = dataset_info(self.dataset, self.revision).card_data
        except Exception:
            return None
        given = card.get("license") if card else None
        return ", ".join(given) if isinstance(given, list) else given


def table_rows(table: datasets.Dataset, name: str) -> Iterator[Row]:
    """All rows of a data set."""
    arrow = table.with_format("arrow")
    for first in range(0, len(table), BATCH_ROWS):
        for batch in arrow[first : first + BATCH_ROWS].combine_chunks().to_batches():
            yield from arrow_rows(batch, name, first)
            first += batch.num_rows


def version(dataset: str, revision: str | None) -> dict[str, object]:
    """What tells one state of a data set from another: its commit, or its files' hashes.

    Raises:
        UserError: the hub cannot be reached, or the data set is not there.
    """
    if Path(dataset).is_dir():
        return {"folder": hashes(sorted(f for f in Path(dataset).rglob("*") if f.is_file()))}
    try:
        commit = dataset_info(dataset, revision).sha
    except Exception as error:
        commit = cached_commit(dataset, revision)
        if commit is None:
            raise unreachable("pool", dataset, error) from None
    return {"id": dataset, "commit": commit}
