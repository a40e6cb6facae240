"""The Hugging Face hub: whether it answers at all, before its own clients try for minutes."""

from __future__ import annotations

from pathlib import Path


def hub_answers(timeout_seconds: float = 5.0) -> bool:
    """Whether the hub can be reached at all; asked once, for its own client retries for long."""
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=timeout_seconds).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def use_cache_only() -> None:
    """Lets `datasets` look only at what this machine has downloaded before."""
    import datasets
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def cached_commit(dataset: str, revision: str | None) -> str | None:
    """The commit of a data set that this machine has downloaded before; None: it has not.

    Args:
        dataset: id on the hub.
        revision: commit or tag; None: the one downloaded last.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=dataset, repo_type="dataset")
    place = Path(constants.HF_HUB_CACHE) / name
    snapshots = sorted(place.glob("snapshots/*"), key=lambda folder: folder.stat().st_mtime)
    commits = [folder.name for folder in snapshots]
    if revision is None:
        return commits[-1] if commits else None
    reference = place / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return commit if commit in commits else None
