"""The Hugging Face hub: whether it answers at all, before its own clients try for minutes."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path


def hub_answers(timeout_seconds: float = 5.0) -> bool:
    """Whether the hub can be reached at all; asked once, for its own client retries for long."""
    from huggingface_hub import constants

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


def use_cache_only() -> None:
    """Lets `datasets` look only at what this machine has downloaded before."""
    import datasets
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def cached_commit(repo: str, revision: str | None, repo_type: str = "dataset") -> str | None:
    """The commit of a data set or model that this machine has downloaded before; None: it has not.

    Args:
        repo: id on the hub.
        revision: commit or tag; None: the one downloaded last.
        repo_type: dataset or model.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo, repo_type=repo_type)
    place = Path(constants.HF_HUB_CACHE) / name
    snapshots = sorted(place.glob("snapshots/*"), key=lambda folder: folder.stat().st_mtime)
    commits = [folder.name for folder in snapshots]
    if revision is None:
        return commits[-1] if commits else None
    reference = place / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return commit if commit in commits else None


def cached_folder(model: str, revision: str | None) -> Path | None:
    """The folder of a model that this machine has downloaded before, whole or in part."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    commit = cached_commit(model, revision, "model")
    if commit is None:
        return None
    name = repo_folder_name(repo_id=model, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name / "snapshots" / commit
