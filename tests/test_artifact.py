"""Artifacts: whole or absent, built once, shared by processes, redone when forced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from s1x.artifact import Artifacts, faults, fingerprint, read_json
from s1x.errors import UserError


def write(text: str):
    return lambda folder: (folder / "x.txt").write_text(text)


def test_equal_inputs_are_built_once(tmp_path: Path) -> None:
    said: list[str] = []
    artifacts = Artifacts(tmp_path, say=said.append)
    first = artifacts.get("train", {"lr": 1}, write("a"))
    again = artifacts.get("train", {"lr": 1}, write("b"))
    other = artifacts.get("train", {"lr": 2}, write("c"))
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert (again.folder / "x.txt").read_text() == "a"
    assert first.folder == tmp_path / "train" / fingerprint({"lr": 1})
    assert len(said) == 1
    assert "reused" in said[0]
    assert first.meta()["inputs"] == {"lr": 1}


def test_force_redoes_once_and_replaces(tmp_path: Path) -> None:
    Artifacts(tmp_path).get("train", {}, write("old"))
    forced = Artifacts(tmp_path, force=["train"])
    assert not forced.get("train", {}, write("new")).reused
    assert forced.get("train", {}, write("newer")).reused
    assert (forced.folder("train", {}) / "x.txt").read_text() == "new"


def test_a_user_error_keeps_checkpoints_and_logs_only(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "checkpoints").mkdir(exist_ok=True)
        raise UserError("no")

    with pytest.raises(UserError):
        Artifacts(tmp_path).get("train", {}, build)
    assert [p.name for p in (tmp_path / "train").glob("*.partial/*")] == ["checkpoints"]


def test_a_user_error_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise UserError("no")

    with pytest.raises(UserError):
        Artifacts(tmp_path).get("select", {}, build)
    assert [p.name for p in (tmp_path / "select").iterdir() if p.is_dir()] == []


DAMAGE = {
    "cut": (
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        "weights has 4,095 bytes instead of 4,096",
    ),
    "flipped": (lambda p: p.write_bytes(b"\1" + p.read_bytes()[1:]), "weights is not what"),
    "removed": (lambda p: p.unlink(), "weights is missing"),
    "unlisted": (lambda p: (p.parent / "artifact.json").unlink(), "artifact.json is missing"),
    "garbled": (lambda p: (p.parent / "artifact.json").write_bytes(b"\xff{"), "artifact.json"),
    "a list": (lambda p: (p.parent / "artifact.json").write_text("[]"), "artifact.json"),
    "files a list": (
        lambda p: (p.parent / "artifact.json").write_text('{"inputs": {}, "files": [1]}'),
        "artifact.json",
    ),
    "other inputs": (
        lambda p: (p.parent / "artifact.json").write_text('{"inputs": {"a": 1}, "files": {}}'),
        "artifact.json was changed",
    ),
    "outside": (
        lambda p: (p.parent / "artifact.json").write_text(
            '{"inputs": {}, "files": {"../../secret": {"bytes": 1, "sha256": ""}}}'
        ),
        "outside the folder",
    ),
}


@pytest.mark.parametrize("always_hashed", [0, 1 << 20], ids=["large", "small"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_the_artifact_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, always_hashed: int
) -> None:
    monkeypatch.setattr("s1x.artifact.ALWAYS_HASHED_BYTES", always_hashed)

    def build(folder: Path) -> None:
        (folder / "weights").write_bytes(bytes(4096))

    place = Artifacts(tmp_path).get("train", {}, build).folder
    assert Artifacts(tmp_path).get("train", {}, build).reused
    damage, words = DAMAGE[kind]
    damage(place / "weights")
    with pytest.raises(UserError, match="damaged") as told:
        Artifacts(tmp_path).existing("train", {})
    assert words in str(told.value)
    said: list[str] = []
    again = Artifacts(tmp_path, say=said.append).get("train", {}, build)
    assert not again.reused
    assert words in said[0]
    assert (place / "weights").read_bytes() == bytes(4096)
    assert Artifacts(tmp_path).get("train", {}, build).reused


def test_large_files_are_read_once_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s1x.artifact.ALWAYS_HASHED_BYTES", 0)
    Artifacts(tmp_path).get("train", {}, write("weights"))
    assert Artifacts(tmp_path).get("train", {}, write("")).reused
    monkeypatch.setattr("s1x.artifact.file_hash", lambda path: pytest.fail(f"read {path}"))
    assert Artifacts(tmp_path).get("train", {}, write("")).reused


def test_a_file_may_be_rewritten_by_its_owner(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    artifact = artifacts.get("report", {}, write("x"))
    artifacts.rewrite(artifact, "summary.json", {"name": "ünï \udcff"})
    assert faults(artifact.folder) == []
    assert read_json(artifact.folder / "summary.json") == {"name": "ünï \udcff"}


def _build_then_hang(root: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "step1").write_text("done")
        time.sleep(60)

    Artifacts(root).get("train", {}, build)


def test_a_killed_build_is_not_taken_for_whole_and_goes_on(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_build_then_hang, args=(tmp_path,)
    )
    process.start()
    place = Artifacts(tmp_path).folder("train", {})
    partial = place.with_name(place.name + ".partial")
    while not (partial / "step1").exists():
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not place.exists()
    found: list[bool] = []
    done = Artifacts(tmp_path).get(
        "train", {}, lambda folder: found.append((folder / "step1").exists())
    )
    assert found == [True], "the next run finds what the killed one left"
    assert done.folder == place


def _count_builds(root: Path, counter: Path) -> None:
    def build(folder: Path) -> None:
        with counter.open("a", encoding="utf-8") as file:
            file.write("built\n")
        time.sleep(0.5)

    Artifacts(root).get("pool", {"seed": 0}, build)


def test_two_processes_build_one_artifact(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    counter = tmp_path / "counter"
    jobs = [context.Process(target=_count_builds, args=(tmp_path, counter)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert counter.read_text() == "built\n"
