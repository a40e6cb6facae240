"""`pool=hub`: a data set of the Hugging Face hub (or a local folder that `datasets` can load).

python run.py +experiment=s1k pool=hub pool.dataset=simplescaling/s1K-1.1
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError, UserError
from s1x.hub import cached_commit, hub_answers, use_cache_only
from s1x.option import option, setting
from s1x.pool.columns import Found
from s1x.pool.files import FORMAT, hashes
from s1x.pool.mapped import MappedPool
from s1x.pool.rows import Row, arrow_names, arrow_rows

if TYPE_CHECKING:
    import datasets

BATCH_ROWS = 1024


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
        given = self.license or licence(self.dataset, self.revision)
        return self.write_from(DataSet(self.dataset, rows), folder, "hub", self.dataset, given)


@dataclass(frozen=True)
class DataSet:
    """The rows of a data set, straight from its memory map."""

    name: str
    table: datasets.Dataset

    def names(self, rows: Iterator[Row], nested: Collection[str]) -> Found:
        """The columns of its schema."""
        return arrow_names(self.table.features.arrow_schema, self.name)

    def rows(self) -> Iterator[Row]:
        """All rows."""
        table = self.table.with_format("arrow")
        for first in range(0, len(table), BATCH_ROWS):
            part = table[first : first + BATCH_ROWS].combine_chunks()
            starts = itertools.accumulate((b.num_rows for b in part.to_batches()), initial=first)
            for start, batch in zip(starts, part.to_batches(), strict=False):
                yield from arrow_rows(batch, self.name, start)


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


def load(
    dataset: str, config_name: str | None, split: str, revision: str | None
) -> datasets.Dataset:
    """The split as a memory-mapped `datasets.Dataset`.

    Raises:
        UserError: it cannot be loaded; one sentence with the remedy.
    """
    import datasets

    is_local = Path(dataset).is_dir()
    if not is_local:
        _look_for_the_hub()
    try:
        return datasets.load_dataset(dataset, config_name, split=split, revision=revision)
    except datasets.exceptions.DatasetGenerationError as error:
        raise unreadable(dataset, error) from None
    except ValueError as error:
        wrong = {"split": split, "config_name": config_name}
        key = "config_name" if "BuilderConfig" in str(error) else "split"
        if is_local and "split" not in str(error).lower() and key == "split":
            raise unreadable(dataset, error) from None
        must = f"one that {dataset} has ({_first_line(error)})"
        raise SettingError(f"pool.{key}", must, wrong[key]) from None
    except Exception as error:
        raise (unreadable if is_local else unreachable)(dataset, error) from None


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


def unreadable(dataset: str, error: Exception) -> UserError:
    """One sentence for a data set that is there and cannot be read: the innermost reason."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = " ".join(str(error).split("Please either edit")[0].split()) or type(error).__name__
    return UserError(
        f"pool: the data set {dataset} cannot be read ({text[:400]}); mend its files, or read "
        "them by pool=jsonl or pool=parquet, which name each bad row"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
