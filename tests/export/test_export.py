"""Our evaluations in others' formats, held to the receivers' own readers and to a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import report_world as world
import yaml
from huggingface_hub import parse_eval_result_entries
from hydra import compose, initialize_config_dir

from s1x.artifact import Artifact
from s1x.compose import CONF, ROOT, register
from s1x.config import load
from s1x.errors import SettingError
from s1x.export.point import as_texts
from s1x.stages import Run, artifacts_of

register()
FORMATS = "export.formats=[every_eval_ever,lm_eval,eval_results]"
WHO = "export.organization=lab"
SCHEMA = json.loads((ROOT / "docs" / "budget.schema.json").read_text(encoding="utf-8"))
#: columns that a round trip through another format keeps
KEPT = [
    *("problem_id", "point", "setting", "sample", "question", "reference_answer", "verdict"),
    *("thinking_tokens", "answer_tokens", "forced_tokens", "thinking_text", "answer_text"),
    *("end_reason", "spill", "looped", "num_waits", "extracted_answer", "domain", "level"),
    *("policy", "model_role", "prompt_format", "benchmark", "wall_seconds"),
]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of three samples each, with an answer that nobody could grade."""
    made = world.Benchmark(num_problems=8, samples=3)
    folder = world.evaluation(tmp_path_factory.mktemp("evaluate") / "0123456789ab", made)
    file = folder / "rows.parquet"
    rows = pl.read_parquet(file, glob=False)
    odd = pl.int_range(pl.len()) == 0
    rows.with_columns(
        verdict=pl.when(odd).then(pl.lit("ungraded")).otherwise("verdict"),
        ungraded_reason=pl.when(odd)
        .then(pl.lit("the judge was away"))
        .otherwise("ungraded_reason"),
    ).write_parquet(file)
    return folder


def export(folder: Path, evaluation: Path, *overrides: str) -> Path:
    """The folder that stages=[export] makes of an evaluation."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["stages=[export]", f"output={folder / 'out'}", WHO, *overrides]
        cfg = compose("config", words)
        run = Run(load(cfg), cfg, folder / "run", [])
        run.made["evaluate"] = [Artifact("evaluate", evaluation.name, evaluation, True, 0.0)]
        (stage,) = artifacts_of("export", run)
        return run.make(stage).folder


def imported(folder: Path, kind: str, path: Path) -> pl.DataFrame:
    """Rows of what an import reads there."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["stages=[report]", f"output={folder / 'out'}", f"import={kind}"]
        cfg = compose("config", [*words, f"import.path={path}"])
        run = Run(load(cfg), cfg, folder / "run", [])
        made = [run.make(stage) for stage in artifacts_of("import", run)]
    return pl.concat(pl.read_parquet(a.folder / "rows.parquet", glob=False) for a in made)


def assert_same(again: pl.DataFrame, evaluation: Path) -> None:
    """The rows came back, point by point and sample by sample."""
    rows = pl.read_parquet(evaluation / "rows.parquet", glob=False)
    order = ["setting", "problem_id", "sample"]
    before, after = (
        frame.select(name for name in KEPT if name != "point").sort(order)
        for frame in (rows, again)
    )
    assert after.height == before.height
    for name in before.columns:
        assert after[name].to_list() == before[name].to_list(), name


def records(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(folder.rglob("*.json")):
        yield file, json.loads(file.read_text(encoding="utf-8"))


def check(kind: str, value: object) -> None:
    jsonschema.validate(value, {"$ref": f"#/definitions/{kind}", **SCHEMA, "oneOf": [{}]})


def test_lm_eval_files_are_read_back_as_they_were(tmp_path: Path, evaluation: Path) -> None:
    made = export(tmp_path, evaluation, FORMATS) / "lm_eval"
    assert_same(imported(tmp_path, "lm_eval", made), evaluation)
    for _, results in records(made):
        check("point", results["budget"])
        (task,) = results["results"]
        assert results["results"][task]["exact_match,none"] == pytest.approx(
            results["budget"]["accuracy_percent"] / 100
        )
    lines = [json.loads(line) for f in made.rglob("*.jsonl") for line in f.open(encoding="utf-8")]
    for line in lines:
        assert len(line["resps"][0]) == len(line["budget"]) == len(line["reasoning"]) == 3
        for sample in line["budget"]:
            check("sample", sample)


def test_the_harness_prints_our_results(tmp_path: Path, evaluation: Path) -> None:
    utils = pytest.importorskip("lm_eval.utils", reason="needs lm-eval")
    made = export(tmp_path, evaluation, FORMATS) / "lm_eval"
    _, results = next(records(made))
    table = utils.make_table(results)
    assert "puzzles_hard" in table
    assert "exact_match" in table


def test_inspect_logs_are_read_back_as_they_were(tmp_path: Path, evaluation: Path) -> None:
    log_module = pytest.importorskip("inspect_ai.log", reason="needs inspect-ai")
    made = export(tmp_path, evaluation, "export.formats=[inspect]") / "inspect"
    assert_same(imported(tmp_path, "inspect", made), evaluation)
    logs = [log_module.read_eval_log(str(file)) for file in sorted(made.rglob("*.eval"))]
    assert len(logs) == len(world.CURVE)
    for log in logs:
        assert log.status == "success"
        budget = log.eval.metadata["budget"]
        check("point", budget)
        metrics = log.results.scores[0].metrics
        for name, field in (
            *(("accuracy", "accuracy_percent"), ("accuracy_low", "accuracy_low_percent")),
            ("accuracy_high", "accuracy_high_percent"),
        ):
            assert metrics[name].value == pytest.approx(budget[field] / 100)
        for sample in log.samples:
            check("sample", sample.metadata["budget"])
        assert (
            sum(not sample.scores for sample in log.samples)
            == log.results.scores[0].unscored_samples
        )


def test_every_eval_ever_has_a_record_and_its_samples_for_each_point(
    tmp_path: Path, evaluation: Path
) -> None:
    made = export(tmp_path, evaluation, FORMATS) / "every_eval_ever"
    found = list(records(made))
    assert len(found) == len(world.CURVE)
    for file, record in found:
        (result,) = record["evaluation_results"]
        budget = result["generation_config"]["additional_details"]
        interval = result["score_details"]["uncertainty"]["confidence_interval"]
        assert interval["lower"] <= result["score_details"]["score"] <= interval["upper"]
        assert float(budget["budget.accuracy_low_percent"]) == pytest.approx(
            100 * interval["lower"]
        )
        assert set(budget) <= {
            f"budget.{name}" for name in SCHEMA["definitions"]["point"]["properties"]
        }
        samples = made / record["detailed_evaluation_results"]["file_path"]
        assert samples == file.with_name(f"{file.stem}_samples.jsonl")
        lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        assert len(lines) == 24 == record["detailed_evaluation_results"]["total_rows"]
        score = sum(line["evaluation"]["score"] for line in lines) / len(lines)
        assert score == pytest.approx(result["score_details"]["score"])
        assert {line["evaluation_id"] for line in lines} == {record["evaluation_id"]}
        for line in lines:
            names = {name.removeprefix("budget.") for name in line["metadata"]}
            assert names <= set(SCHEMA["definitions"]["sample"]["properties"])


def test_every_eval_evers_own_validator_accepts_them(tmp_path: Path, evaluation: Path) -> None:
    core = pytest.importorskip(
        "every_eval_ever.validator.validation_core",
        reason="every-eval-ever needs Python 3.12 and a newer numpy than s1x; "
        "put its unpacked wheel on PYTHONPATH",
    )
    made = export(tmp_path, evaluation, FORMATS) / "every_eval_ever"
    files = [file for file in sorted(made.rglob("*")) if file.is_file()]
    assert len(files) == 2 * len(world.CURVE)
    inside = {file.relative_to(made).as_posix() for file in files}
    for file in files:
        report = core.validate_file(
            file,
            repo_path=file.relative_to(made).as_posix(),
            available_files=inside,
            read_repo_file=lambda path: (made / path).read_text(encoding="utf-8"),
            run_semantic_checks=True,
        )
        assert report.valid, report.errors
        assert report.warnings == []


def test_what_was_imported_is_exported_with_what_is_known(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    file.write_text("problem_id,correct,model\na,true,lab/one\nb,false,lab/one\n", encoding="utf-8")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["stages=[export]", f"output={tmp_path / 'out'}", WHO, FORMATS]
        cfg = compose("config", [*words, "import=rows", f"import.path={file}"])
        run = Run(load(cfg), cfg, tmp_path / "run", [])
        run.execute()
    (artifact,) = run.made["export"]
    _, results = next(records(artifact.folder / "lm_eval"))
    check("point", results["budget"])
    assert results["budget"]["mean_thinking_tokens"] is None
    _, record = next(records(artifact.folder / "every_eval_ever"))
    assert record["model_info"]["id"] == "lab/one"
    assert record["evaluation_results"][0]["score_details"]["score"] == 0.5
    samples = next(artifact.folder.rglob("*_samples.jsonl")).read_text(encoding="utf-8")
    assert [json.loads(line)["token_usage"] for line in samples.splitlines()] == [None, None]
    again = imported(tmp_path, "lm_eval", artifact.folder / "lm_eval")
    assert again["verdict"].to_list() == ["correct", "wrong"]
    assert again["thinking_tokens"].to_list() == [None, None]


def test_a_model_cards_results_are_percent_a_file_for_each_point(
    tmp_path: Path, evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("s1x.export.stage.say_once", said.append)
    nothing = export(tmp_path / "a", evaluation, "export.formats=[eval_results]")
    assert not list(nothing.rglob("*.yaml"))
    assert "puzzles_hard is left out, no data set of the hub is known" in said[0]
    task = "export.hub_tasks={puzzles_hard:lab/puzzles/hard}"
    ids = "export.model_ids={puzzle_base-s1k:lab/puzzler}"
    made = export(tmp_path / "b", evaluation, "export.formats=[eval_results]", task, ids)
    files = sorted((made / "eval_results").rglob(".eval_results/*.yaml"))
    assert len(files) == len(world.CURVE)
    for file in files:
        assert file.parent.parent.name.startswith("lab_puzzler")
        (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert (entry.dataset_id, entry.task_id) == ("lab/puzzles", "hard")
        told = dict(pair.split("=") for pair in entry.notes.removeprefix("budget: ").split(", "))
        assert float(told["accuracy_percent"]) == pytest.approx(entry.value, abs=1e-3)
        assert told["policy"] == "budget_forcing"


def test_the_schema_is_of_exactly_what_is_written(tmp_path: Path, evaluation: Path) -> None:
    made = export(tmp_path, evaluation, "export.formats=[lm_eval]") / "lm_eval"
    _, results = next(records(made))
    line = json.loads(next(made.rglob("*.jsonl")).open(encoding="utf-8").readline())
    for kind, written in (("point", results["budget"]), ("sample", line["budget"][0])):
        told = SCHEMA["definitions"][kind]
        assert list(told["properties"]) == told["required"] == list(written)
        assert all(about["description"] for about in told["properties"].values())
    with pytest.raises(jsonschema.ValidationError):
        check("point", {**results["budget"], "more": 1})
    assert as_texts({"a": None, "b": "word", "c": 1.5, "d": {}}) == {
        "budget.b": "word",
        "budget.c": "1.5",
        "budget.d": "{}",
    }


def test_what_a_format_needs_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    def checked(*overrides: str) -> None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", ["stages=[export]", f"output={tmp_path / 'out'}", *overrides])
            Run(load(cfg), cfg, tmp_path / "run", []).check()

    with pytest.raises(SettingError, match=r"export\.organization must be set for every_eval_ever"):
        checked()
    with pytest.raises(SettingError, match=r"export\.formats must be of every_eval_ever, inspect"):
        checked("export.formats=[helm]")
    with pytest.raises(SettingError, match=r"export\.hub_tasks\.x must be owner/name/task"):
        checked("export.hub_tasks={x:y}")
