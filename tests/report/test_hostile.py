"""Labels of any length and script, and runs that others made: nothing breaks, nothing leaks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x import report
from s1x.artifact import Artifacts
from s1x.errors import UserError
from s1x.report.parts import file_name
from s1x.report.runs import own_context, place, report_on

LABELS = (
    "a" * 300,
    "a" * 299 + "b",
    "推論" * 120,
    "../../etc/passwd",
    ".hidden",
    "tab\tnew\nline\0null",
    "\ud800 lone",
    world.HOSTILE,
)


def test_names_of_files_are_short_plain_and_apart() -> None:
    names = [file_name(label) for label in LABELS]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.encode()) < 80
        assert name.isascii()
        assert not name.startswith(".")
        assert not set(name) & set("/\\\0 \n<>")
    assert file_name("curve_puzzles_hard") == "curve_puzzles_hard"


@pytest.mark.parametrize("label", [LABELS[0], LABELS[2], LABELS[3], LABELS[-1]])
def test_a_report_over_runs_with_such_labels(label: str, tmp_path: Path) -> None:
    runs = []
    for name, skill in ((label, 0.0), (label + "2", -0.2)):
        benchmark = world.Benchmark(num_problems=12, samples=2)
        folder = world.evaluation(tmp_path / f"e{skill}", benchmark, skill=skill)
        select = world.selection(tmp_path / f"s{skill}", name, tokens=int(60_000 + 100 * skill))
        runs.append({"label": name, "evaluations": [folder], "selection": select})
    out = tmp_path / "out"
    report.run({"runs": runs}, [], None, None, out)
    written = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert all(len(part.encode()) < 120 for path in written for part in path.parts)
    assert "<img src=x" not in (out / "report.html").read_text(encoding="utf-8")


def _theirs(folder: Path, named: str, context: dict[str, Any] | None = None) -> Path:
    """A run folder made by another, whose run.json names an evaluation."""
    run = folder / "runs" / "1"
    run.mkdir(parents=True)
    basic = {"name": "x", "scale": "laptop", "seed": 0, "prices": {}, "choices": {}, "stages": []}
    content = {"context": {**basic, **(context or {})}, "selection": None, "training": None}
    (run / "run.json").write_text(json.dumps({**content, "evaluations": [named]}))
    return run


def test_a_run_that_names_a_folder_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = world.evaluation(tmp_path / "private" / "evaluate" / "x", world.Benchmark())
    for named in (os.path.relpath(secret, tmp_path / "theirs/runs/1"), str(secret)):
        theirs = tmp_path / f"theirs{len(named)}"
        _theirs(theirs, named.replace("theirs/", f"theirs{len(named)}/"))
        with pytest.raises(UserError, match="leads out of"):
            report_on([str(theirs / "runs" / "*")], tmp_path / "out")


def test_links_that_lead_out_are_refused_too(tmp_path: Path) -> None:
    secret = world.evaluation(tmp_path / "private" / "x", world.Benchmark(num_problems=4))
    theirs = tmp_path / "theirs"
    run = _theirs(theirs, "../../evaluate/x")
    inside = theirs / "evaluate" / "x"
    inside.mkdir(parents=True)
    (inside / "rows.parquet").symlink_to(secret / "rows.parquet")
    with pytest.raises(UserError, match="leads out of"):
        place(run, "../../evaluate/x")
    (inside / "rows.parquet").unlink()
    assert place(run, "../../evaluate/x") == inside.resolve()
    assert place(run, "../../../private/x", own=True) == secret.resolve()
    with pytest.raises(UserError, match="is gone"):
        place(run, "../../evaluate/y")


def test_costs_and_tokenizers_elsewhere_are_left_alone(tmp_path: Path) -> None:
    run = _theirs(tmp_path / "theirs", "../../evaluate/x")
    mine, pool = tmp_path / "mine", tmp_path / "theirs" / "pool" / "1"
    tokenizers = {"a": str(mine), "b": str(pool), "c": "org/name", "d": "../mine", "e": "~/m/x"}
    given = {"cost_folders": [str(mine), str(pool)], "tokenizers": tokenizers, "name": "x"}
    kept = own_context(run, given)
    assert kept["cost_folders"] == [str(pool)]
    assert kept["tokenizers"] == {"b": str(pool), "c": "org/name"}
    assert kept["name"] == "x"


def test_brackets_in_the_path_of_a_run(tmp_path: Path) -> None:
    theirs = tmp_path / "a[1]*"
    world.evaluation(theirs / "evaluate" / "x", world.Benchmark(num_problems=10))
    run = _theirs(theirs, "../../evaluate/x")
    assert place(run, "../../evaluate/x").is_dir()


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", "[" * 100_000, '{"context": {}, "evaluations": [1]}'),
        *('{"context": [], "evaluations": []}', '{"context": {}, "evaluations": ["\\u0000"]}'),
    ],
)
def test_a_run_file_that_is_none_is_a_sentence(text: str, tmp_path: Path) -> None:
    run = _theirs(tmp_path / "theirs", "../../evaluate/x")
    (run / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json|is no path"):
        report_on([str(run)], tmp_path / "out")


def test_a_context_of_any_shape_still_makes_a_report(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    made = Artifacts(theirs, [], str).get(
        "evaluate", {}, lambda folder: world.evaluation(folder, world.Benchmark(num_problems=6))
    )
    odd = {"stages": [3, {}], "prices": 7, "overrides": {"a": 1}, "tokenizers": [], "scale": ["x"]}
    run = _theirs(theirs, f"../../evaluate/{made.folder.name}", odd)
    summary = report_on([str(run)], tmp_path / "out")
    assert len(summary["curves"]) == 1
