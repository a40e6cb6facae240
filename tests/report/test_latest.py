"""`outputs/latest` is a convenience: it never fails a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1x.report.runs import point_latest


def test_latest_follows_the_newest_report(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / "latest", tmp_path / name)
    assert (tmp_path / "latest").resolve() == tmp_path / "b"


def test_a_folder_of_that_name_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "latest" / "kept").mkdir(parents=True)
    point_latest(tmp_path / "latest", tmp_path / "a")
    assert (tmp_path / "latest" / "kept").is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "latest"]
    assert "it is no link" in capsys.readouterr().err


def test_a_dangling_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "gone")
    point_latest(tmp_path / "latest", tmp_path / "a")
    assert (tmp_path / "latest").resolve() == tmp_path / "a"
