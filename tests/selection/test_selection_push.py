"""`selection.push_to_hub` against a hub of the test's own: what it uploads, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from stub_hub import TOKEN, StubHub, serving

from s1x.compose import ROOT
from s1x.errors import UserError
from s1x.selection.write import push

FILES = {"README.md", "chosen.parquet", "s1k.parquet", "dropped.parquet", "funnel.json"}


def select(output: Path, hub: StubHub, token: str, *more: str) -> tuple[int, str]:
    """`stages=[select]` with an upload, as a user runs it: exit status and what was said."""
    command = [sys.executable, "run.py", "+experiment=s1k", "scale=quick", "stages=[select]"]
    command += [f"output={output}", "selection.push_to_hub=me/mine", *more]
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HOME": f"{output}/hf"}
    env.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_a_wrong_key_is_told_after_the_selection_is_safe_and_a_right_one_uploads_it(
    tmp_path: Path,
) -> None:
    with serving() as hub:
        status, said = select(tmp_path, hub, "hf_wrong")
        assert status == 2
        (error,) = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert "selection.push_to_hub me/mine: the hub refused" in error
        assert "401" in error
        assert "hf auth login" in error
        assert "Traceback" not in said
        (chosen,) = (tmp_path / "select").glob("*/chosen.parquet")
        assert str(chosen.parent) in error
        assert hub.uploaded == {}
        status, said = select(tmp_path, hub, TOKEN)
        assert status == 0, said
        assert f"reused {chosen.parent}" in said
        assert f"uploaded to {hub.url}/datasets/me/mine" in said
        assert set(hub.uploaded["me/mine"]) == FILES
        assert hub.uploaded["me/mine"]["chosen.parquet"] == chosen.read_bytes()
        assert hub.private == {"me/mine"}
        front = yaml.safe_load(hub.uploaded["me/mine"]["README.md"].decode().split("---")[1])
        assert {c["config_name"] for c in front["configs"]} == {"default", "s1K", "dropped"}


def test_a_public_upload_and_no_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    for name in ("chosen.parquet", "README.md", "artifact.json", "costs.json"):
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        assert push(tmp_path, "me/open", private=False) == f"{hub.url}/datasets/me/open"
        assert set(hub.uploaded["me/open"]) == {"chosen.parquet", "README.md"}
        assert hub.private == set()
    with pytest.raises(UserError, match=r"me/open: the hub .* \(no answer\)") as error:
        push(tmp_path, "me/open", private=False)
    assert "\n" not in str(error.value)
