"""The Hugging Face hub: whether it answers, its data sets, and what was downloaded before."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants

from s1x.errors import SettingError, UserError, reason_of

if TYPE_CHECKING:
    import datasets
    from huggingface_hub.hf_api import DatasetInfo


def hub_answers(timeout_seconds: float = 5.0) -> bool:
    """Whether the hub can be reached at all; asked once, for its own client retries for long."""
    return not constants.HF_HUB_OFFLINE and answers(constants.ENDPOINT, timeout_seconds, "HEAD")


def answers(url: str, timeout_seconds: float, method: str = "GET") -> bool:
    """Whether something answers at an address, whatever it says."""
    try:
        request = urllib.request.Request(url, method=method)
        urllib.request.urlopen(request, timeout=timeout_seconds).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True


def _look_for_the_hub() -> None:
    """Where it can't be reached, only the cache is asked: the hub's client would retry for long."""
    import datasets

    if not hub_answers():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def dataset_info(dataset: str, revision: str | None) -> DatasetInfo:
    """What the hub says of a data set; raises whatever its client raises."""
    from huggingface_hub import HfApi

    _look_for_the_hub()
    return HfApi().dataset_info(dataset, revision=revision, timeout=20)


def load_dataset(
    key: str, dataset: str, config_name: str | None, split: str, revision: str | None
) -> datasets.Dataset:
    """A split of a data set of the hub or of a local folder, memory-mapped.

    Args:
        key: the group whose setting it is (pool, benchmark), for errors.

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
        raise _unreadable(key, dataset, error) from None
    except ValueError as error:
        wrong = "config_name" if "BuilderConfig" in str(error) else "split"
        if is_local and wrong == "split" and "split" not in str(error).lower():
            raise _unreadable(key, dataset, error) from None
        must = f"one that {dataset} has ({reason_of(error)})"
        value = split if wrong == "split" else config_name
        raise SettingError(f"{key}.{wrong}", must, value) from None
    except Exception as error:  # the libraries below raise dozens of kinds
        raise (_unreadable if is_local else unreachable)(key, dataset, error) from None


def unreachable(key: str, dataset: str, error: Exception) -> UserError:
    """One sentence for a data set that cannot be had."""
    reason = "no answer" if constants.HF_HUB_OFFLINE else reason_of(error)
    remedy = (
        "check its name and the network, or download it elsewhere (hf download --repo-type "
        f"dataset --local-dir FOLDER) and name the folder in its place, or use {key}=jsonl with a "
        "file of its rows"
    )
    if "gated" in str(error).lower() or "401" in str(error):
        remedy = f"accept its terms at huggingface.co/datasets/{dataset} and set HF_TOKEN"
    return UserError(
        f"{key}: the data set {dataset} cannot be loaded from the hub ({reason}); {remedy}"
    )


def _unreadable(key: str, dataset: str, error: BaseException) -> UserError:
    """One sentence for a data set that is there and cannot be read: the innermost reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split("Please either edit")[0].split()) or type(error).__name__
    return UserError(
        f"{key}: the data set {dataset} cannot be read ({text[:400]}); mend its files, or read "
        f"them by {key}=jsonl, which names each bad row"
    )


def cached_commit(repo: str, revision: str | None, repo_type: str = "dataset") -> str | None:
    """The commit of a data set or model that this machine has downloaded before; None: it has not.

    Args:
        repo: id on the hub.
        revision: commit or tag; None: the one downloaded last.
        repo_type: dataset or model.
    """
    place = _cache(repo, repo_type)
    snapshots = sorted(place.glob("snapshots/*"), key=lambda folder: folder.stat().st_mtime)
    commits = [folder.name for folder in snapshots]
    if revision is None:
        return commits[-1] if commits else None
    reference = place / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return commit if commit in commits else None


def cached_folder(model: str, revision: str | None) -> Path | None:
    """The folder of a model that this machine has downloaded before, whole or in part."""
    commit = cached_commit(model, revision, "model")
    return None if commit is None else _cache(model, "model") / "snapshots" / commit


def _cache(repo: str, repo_type: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type=repo_type)
