"""`pool=hub`: a data set of the Hugging Face hub (or a local folder that `datasets` can load).

python run.py +experiment=s1k pool=hub pool.dataset=simplescaling/s1K-1.1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError, UserError
from s1x.hub import cached_commit, hub_answers, use_cache_only
from s1x.option import option, setting
from s1x.pool import columns as names
from s1x.pool.arrow import write_batches
from s1x.pool.files import FORMAT, hashes
from s1x.pool.mapped import MappedPool

if TYPE_CHECKING:
    import pyarrow as pa


@option("pool", "hub")
@dataclass(frozen=True)
class Hub(MappedPool):
    """A pool on the hub, memory-mapped by `datasets`; `columns` maps our names to its own."""

    dataset: str = setting(doc="hub id or local folder", remedy="set pool.dataset=<owner/name>")
    config_name: str | None = setting(None, "configuration of the data set")
    split: str = setting("train", "split of the data set")
    revision: str | None = setting(None, "commit or tag; None: the newest")

    def fingerprint(self) -> dict[str, Any]:
        """The data set's commit (or the hashes of a local folder) and the settings that matter.

        Raises:
            UserError: the hub cannot be reached and the data set is not in the local cache.
        """
        return {
            "pool": "hub",
            "format": FORMAT,
            "dataset": version(self.dataset, self.revision),
            "config_name": self.config_name,
            "split": self.split,
            **self.reading(),
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the pool in our columns; returns its counts.

        Raises:
            UserError: a data set that cannot be loaded, a missing column, too many bad rows.
        """
        rows = load(self.dataset, self.config_name, self.split, self.revision)
        found = list(rows.column_names)
        mapping = names.resolve(self.columns, found, self.dataset)
        others = [n for n in found if n not in mapping.values() and n not in mapping]
        about = {
            "name": self.dataset,
            "kind": "hub",
            "columns": mapping,
            "license": self.license or licence(self.dataset, self.revision),
        }
        batches = stream(rows, self.dataset, self.max_rows)
        return write_batches(batches, mapping, others, folder, self.max_bad_fraction, about)


def version(dataset: str, revision: str | None) -> dict[str, Any]:
    """What tells one state of a data set from another: its commit, or its files' hashes.

    Raises:
        UserError: the hub cannot be reached, or the data set is not there.
    """
    if Path(dataset).is_dir():
        files = sorted(f for f in Path(dataset).rglob("*") if f.is_file())
        return {"folder": hashes(files)}
    try:
        return {"id": dataset, "commit": _info(dataset, revision).sha}
    except Exception as error:
        commit = cached_commit(dataset, revision)
        if commit is None:
            raise unreachable(dataset, error) from None
        return {"id": dataset, "commit": commit}


def licence(dataset: str, revision: str | None) -> str | None:
    """The licence that a data set's card on the hub gives, if it can be asked."""
    if Path(dataset).is_dir():
        return None
    try:
        card = _info(dataset, revision).card_data
    except Exception:
        return None
    given = card.get("license") if card else None
    return ", ".join(given) if isinstance(given, list) else given


def _info(dataset: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    _look_for_the_hub()
    return HfApi().dataset_info(dataset, revision=revision, timeout=20)


def load(dataset: str, config_name: str | None, split: str, revision: str | None) -> Any:
    """The split as a memory-mapped `datasets.Dataset`.

    Raises:
        UserError: it cannot be loaded; one sentence with the remedy.
    """
    import datasets

    if not Path(dataset).is_dir():
        _look_for_the_hub()
    try:
        return datasets.load_dataset(dataset, config_name, split=split, revision=revision)
    except ValueError as error:
        raise SettingError(
            "pool.split", f"one that {dataset} has ({_first_line(error)})", split
        ) from None
    except Exception as error:
        raise unreachable(dataset, error) from None


def _look_for_the_hub() -> None:
    """Where it can't be reached, only the cache is asked: the hub's client would retry for long."""
    if not hub_answers():
        use_cache_only()


def unreachable(dataset: str, error: Exception) -> UserError:
    """One sentence for a data set that cannot be had."""
    from huggingface_hub import constants

    reason = "no answer" if constants.HF_HUB_OFFLINE else _first_line(error)
    return UserError(
        f"pool: the data set {dataset} cannot be loaded from the hub ({reason}); check its name "
        "and the network, or download it elsewhere (hf download --repo-type dataset --local-dir "
        "FOLDER) and name the folder in its place, or use pool=jsonl or pool=parquet"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def stream(
    rows: Any, name: str, max_rows: int | None, batch_rows: int = 1024
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """(name, rows before, batch) of a `datasets.Dataset`, straight from its memory map."""
    total = len(rows) if max_rows is None else min(max_rows, len(rows))
    table = rows.with_format("arrow")
    for first in range(0, total, batch_rows):
        part = table[first : min(first + batch_rows, total)].combine_chunks()
        for batch in part.to_batches():
            yield name, first, batch
            first += batch.num_rows
