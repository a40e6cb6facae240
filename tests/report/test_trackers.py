"""Trackers: real runs, read back from what they wrote."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import struct
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x.errors import SettingError, UserError
from s1x.report.mlflow import MLflow
from s1x.report.none import NoTracker
from s1x.report.tensorboard import TensorBoard
from s1x.report.tracker import Folders, trace_rows
from s1x.report.trackio import Trackio
from s1x.report.wandb import WeightsAndBiases, build_report

Written = tuple[Path, dict[str, Any]]


@pytest.fixture
def folders(made: world.Made) -> Folders:
    (made.selection / "chosen.parquet").write_bytes(b"rows")
    return {
        "select": made.selection,
        "train": made.training,
        "evaluate": list(made.evaluations),
    }


def _context(made: world.Made, folder: Path) -> dict[str, Any]:
    more = {"sweep": "wait_count", "job": "budget.num_waits=1", "run_folder": str(folder)}
    return world.context(made, config={"budget": {"num_waits": 1}}, **more)


def _records(folder: Path) -> list[Any]:
    """The records of an offline run's file, which a process of its own may still be closing."""
    from wandb.proto import wandb_internal_pb2 as messages

    file = next(folder.glob("wandb/offline-run-*/run-*.wandb"))
    for _ in range(100):
        found = [messages.Record.FromString(data) for data in _log_records(file.read_bytes())]
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError("the run was never closed")


def _log_records(content: bytes) -> Iterator[bytes]:
    """LevelDB's log format behind 7 bytes: blocks of 32 KiB, pieces with a header of 7 bytes."""
    block, place, whole = 32_768, 7, b""
    while place + 7 <= len(content):
        left = block - place % block
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if kind == 0:
            place += left
            continue
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


def _values(items: Any) -> dict[str, Any]:
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


@pytest.fixture(scope="module")
def wandb_there() -> None:
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")


@pytest.mark.usefixtures("wandb_there")
def test_wandb_offline_run_holds_everything(
    made: world.Made, written: Written, folders: Folders, tmp_path: Path
) -> None:
    tracker = WeightsAndBiases(mode="offline", max_traces=20)
    tracker.start(_context(made, tmp_path))
    tracker.log_training(made.training)
    tracker.log("select", None, {"rows_chosen": 1000.0})
    tracker.finish(written[1], folders, failed=False)
    records = _records(tmp_path)
    run = next(r.run for r in records if r.HasField("run"))
    assert (run.run_group, run.display_name, run.project) == (
        "wait_count",
        "budget.num_waits=1",
        "s1x",
    )
    config: dict[str, Any] = {}
    for record in records:
        for part in (record.run.config, record.config):
            config |= _values(part.update)
    assert config["config"] == {"budget": {"num_waits": 1}}
    assert config["fingerprints"]["train"] == made.training.name
    assert len(config["fingerprints"]["evaluate"]) == len(made.evaluations)
    history = [_values(r.history.item) for r in records if r.HasField("history")]
    losses = {h["train/step"]: h["train/loss"] for h in history if "train/loss" in h}
    assert losses[1] == 2.0
    assert losses[30] == pytest.approx(2 / 30, abs=1e-3)
    logged = {key for h in history for key in h}
    assert {key.split("/")[0] for key in logged} >= {"curves", "traces"}
    assert any(key.startswith("curve/puzzles_hard") for key in logged)
    summary: dict[str, Any] = {}
    for record in records:
        summary |= _values(record.summary.update)
    best = written[1]["curves"][written[1]["main_curve"]]["performance_percent"]["value"]
    assert summary["puzzles_hard/fine_tuned/performance_percent"] == pytest.approx(best)
    artifacts = {
        a.type: sorted(e.path for e in a.manifest.contents)
        for r in records
        if r.HasField("request") or r.HasField("artifact")
        for a in (r.artifact, r.request.log_artifact.artifact)
        if a.name
    }
    assert "chosen.parquet" in artifacts["dataset"]
    assert artifacts["model"] == ["config.json"]
    assert [r.exit.exit_code for r in records if r.HasField("exit")] == [0]


@pytest.mark.usefixtures("wandb_there")
def test_wandb_run_of_a_crash_is_closed_as_failed(made: world.Made, tmp_path: Path) -> None:
    tracker = WeightsAndBiases(mode="offline")
    tracker.start(_context(made, tmp_path))
    tracker.log("train", 1, {"loss": 2.0})
    tracker.finish(None, {"select": None, "train": None, "evaluate": []}, failed=True)
    assert [r.exit.exit_code for r in _records(tmp_path) if r.HasField("exit")] == [1]


def test_wandb_table_of_traces_is_thinned_evenly(folders: Folders) -> None:
    rows = list(trace_rows(folders, 60))
    assert 30 <= len(rows) <= 60
    assert len({row["benchmark"] for row in rows}) == 2, "both benchmarks are there"
    assert list(trace_rows(folders, 0)) == []


def test_wandb_report_needs_its_extra_and_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"tracker\.mode"):
        WeightsAndBiases(report=True, mode="offline")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="pip install wandb-workspaces"):
        WeightsAndBiases(report=True)


def _sent(made: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What saving the report would send, with a service that knows the project in W&B's place."""
    from wandb_workspaces.reports.v2 import interface

    class Service:
        def projects(self, entity: str) -> list[Any]:
            return [types.SimpleNamespace(name="s1x")]

    class SentError(Exception):
        pass

    def answer(api: Any, query: Any, variables: dict[str, Any]) -> Any:
        if "spec" in variables:
            raise SentError(variables)
        return {"project": {"internalId": "1"}}

    monkeypatch.setattr(interface, "_get_api", Service)
    monkeypatch.setattr(interface, "execute_graphql", answer)
    with pytest.raises(SentError) as found:
        made.save()
    variables: dict[str, Any] = found.value.args[0]
    return variables


def test_wandb_report_has_the_sections_of_ours(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("wandb_workspaces") is None:
        with pytest.raises(UserError, match="wandb-workspaces"):
            build_report(written[1], "s1x", None, None)
        pytest.skip("wandb-workspaces is not installed")
    made: Any = build_report(written[1], "s1x", "team", "wait_count")
    headings = [block.text for block in made.blocks if type(block).__name__ == "H1"]
    assert headings == [
        "Test-time scaling",
        "Control, scaling, performance",
        "From the pool to the chosen set",
        "Training",
        "What it cost",
        "Traces",
    ]
    text = " ".join(b.text for b in made.blocks if type(b).__name__ == "MarkdownBlock")
    assert "| puzzles_hard | fine-tuned | 100.0 |" in text
    assert "| quality | 59000 | 38120 |" in text
    sent = _sent(made, monkeypatch)
    assert (sent["entityName"], sent["projectName"], sent["type"]) == ("team", "s1x", "runs")
    assert sent["displayName"] == "s1x: s1k (laptop)"
    blocks = json.loads(sent["spec"])["blocks"]
    assert [b["children"][0]["text"] for b in blocks if b["type"] == "heading"] == headings
    panels = [b["metadata"]["panelBankSectionConfig"]["panels"] for b in blocks if "metadata" in b]
    assert sum(map(len, panels)) == 3, "a curve for each of two benchmarks, and the loss"
    for words in ("no evidence about large models", "| quality | 59000 | 38120 |", "train/loss"):
        assert words in sent["spec"], words
    assert "curve/puzzles_new_table" in sent["spec"]


@pytest.mark.usefixtures("wandb_there")
def test_a_wandb_report_that_cannot_be_saved_leaves_the_run_whole(
    made: world.Made,
    written: Written,
    folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("wandb_workspaces")
    # nobody is logged in, and nobody is there
    for name, value in (("HOME", str(tmp_path)), ("WANDB_BASE_URL", "http://127.0.0.1:9")):
        monkeypatch.setenv(name, value)
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    tracker = WeightsAndBiases(mode="offline", max_traces=4)
    object.__setattr__(tracker, "report", True)  # settings refuse it offline: it cannot be saved
    tracker.start(_context(made, tmp_path))
    tracker.finish(written[1], folders, failed=False)
    (line,) = [t for t in capsys.readouterr().err.splitlines() if "W&B Report" in t]
    assert "was not saved" in line
    assert "wandb login" in line
    assert [r.exit.exit_code for r in _records(tmp_path) if r.HasField("exit")] == [0]


def test_tensorboard_run_is_read_back(
    made: world.Made, written: Written, folders: Folders, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoard()
    tracker.start(_context(made, tmp_path))
    tracker.log_training(made.training)
    tracker.finish(written[1], folders, failed=False)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    loss = {e.step: e.value for e in events.Scalars("train/loss")}
    assert loss[1] == 2.0
    assert len(loss) == 30
    curve = written[1]["curves"][written[1]["main_curve"]]["points"]
    seen = {e.step: e.value for e in events.Scalars("curve/puzzles_hard/fine_tuned")}
    for point in curve:
        step = round(point["mean_thinking_tokens"])
        assert seen[step] == pytest.approx(point["accuracy_percent"], abs=1e-4)
    tags = events.Tags()["tensors"]
    assert "status/text_summary" in tags
    assert "traces/text_summary" in tags
    assert events.Tensors("status/text_summary")[0].tensor_proto.string_val[0] == b"finished"


def test_trackio_run_is_read_back(
    made: world.Made,
    written: Written,
    folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trackio = pytest.importorskip(
        "trackio", reason="needs trackio, whose pillow is older than ours"
    )
    storage = importlib.import_module("trackio.sqlite_storage")
    for module in (storage, trackio):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path, raising=False)
    project = f"s1x-{tmp_path.name}"
    tracker = Trackio(project=project, max_traces=10)
    tracker.start(_context(made, tmp_path))
    tracker.log_training(made.training)
    tracker.finish(written[1], folders, failed=True)
    assert capsys.readouterr().out == "", "only the console front end prints"
    (run,) = trackio.Api().runs(project)
    logged = storage.SQLiteStorage.get_logs(project, run.name)
    loss = {line["step"]: line["train/loss"] for line in logged if "train/loss" in line}
    assert (loss[1], len(loss)) == (2.0, 30)
    curve = written[1]["curves"][written[1]["main_curve"]]["points"]
    key = "curve/puzzles_hard/fine_tuned"
    seen = {line["step"]: line[key] for line in logged if key in line}
    assert len(seen) == len(curve)
    for point in curve:
        found = seen[round(point["mean_thinking_tokens"])]
        assert found == pytest.approx(point["accuracy_percent"])
    assert any("traces" in line for line in logged)
    assert run.config["config"] == {"budget": {"num_waits": 1}}
    assert [alert["title"] for alert in trackio.Api().alerts(project)] == ["the run failed"]


@pytest.mark.parametrize("failed", [False, True])
def test_mlflow_run_is_read_back(
    failed: bool,
    made: world.Made,
    written: Written,
    folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow = pytest.importorskip(
        "mlflow", reason="needs mlflow, whose cachetools is older than ours"
    )
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    tracker = MLflow(uri=uri, max_traces=10)
    tracker.start(_context(made, tmp_path))
    tracker.log_training(made.training)
    tracker.finish(written[1], folders, failed=failed)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("s1x").experiment_id])
    assert run.info.status == ("FAILED" if failed else "FINISHED")
    assert run.info.run_name == "budget.num_waits=1"
    assert run.data.tags["s1x.sweep"] == "wait_count"
    loss = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "train/loss")}
    assert (loss[1], len(loss)) == (2.0, 30)
    curve = written[1]["curves"][written[1]["main_curve"]]["points"]
    history = client.get_metric_history(run.info.run_id, "curve/puzzles_hard/fine_tuned")
    seen = {metric.step: metric.value for metric in history}
    for point in curve:
        found = seen[round(point["mean_thinking_tokens"])]
        assert found == pytest.approx(point["accuracy_percent"])
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        *("settings.json", "summary.json", "traces.json"),
    }


def test_mlflow_that_refuses_says_so_in_a_sentence(made: world.Made, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow, whose cachetools is older than ours")
    with pytest.raises(UserError, match=r"tracker=mlflow cannot start .*; set tracker\.uri"):
        MLflow(uri="nowhere://x").start(_context(made, tmp_path))


@pytest.mark.parametrize(("option", "package"), [(Trackio, "trackio"), (MLflow, "mlflow")])
def test_a_tracker_that_is_not_installed_is_named_with_its_remedy(
    option: Any, package: str, made: world.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"tracker={package} needs .*; pip install {package}"):
        option().start(_context(made, tmp_path))


def test_no_tracker_does_nothing(made: world.Made, tmp_path: Path) -> None:
    tracker = NoTracker()
    tracker.start(_context(made, tmp_path))
    tracker.log_training(made.training)
    tracker.finish(None, {}, failed=True)
    assert list(tmp_path.iterdir()) == []


def test_training_steps_skip_what_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(NoTracker, "log", lambda _, *line: logged.append(line))
    NoTracker().log_training(tmp_path)
    assert logged == []
    (tmp_path / "log.csv").write_text("step,loss,note,mfu\n1,2.5,warm,\n2,1.5,,0.4\n")
    NoTracker().log_training(tmp_path)
    assert logged == [("train", 1, {"loss": 2.5}), ("train", 2, {"loss": 1.5, "mfu": 0.4})]


@pytest.mark.parametrize("option", [NoTracker, TensorBoard, WeightsAndBiases, Trackio, MLflow])
def test_trackers_are_frozen_options(option: Any) -> None:
    tracker = option()
    with pytest.raises(dataclasses.FrozenInstanceError):
        tracker.mode = "x"


@pytest.mark.usefixtures("wandb_there")
@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb_mode_of_the_environment_counts(
    mode: str, made: world.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    tracker = WeightsAndBiases()
    tracker.start(_context(made, tmp_path))
    tracker.log("train", 1, {"loss": 2.0})
    tracker.finish(None, {}, failed=False)
    assert bool(list(tmp_path.glob("wandb/offline-run-*"))) == (mode == "offline")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(SettingError, match=f"false when W&B is {mode}"):
        WeightsAndBiases(report=True)


def test_wandb_mode_is_checked() -> None:
    with pytest.raises(SettingError, match="mode must be null or one of online"):
        WeightsAndBiases(mode="ofline")


@pytest.mark.usefixtures("wandb_there")
def test_names_of_any_length_reach_wandb(made: world.Made, tmp_path: Path) -> None:
    tracker = WeightsAndBiases(mode="offline", tags=["t" * 100])
    long = {"job": "é/" * 300, "sweep": "s" * 300, "scale": "l" * 300}
    tracker.start(_context(made, tmp_path) | long)
    tracker.finish(None, {}, failed=False)
    run = next(r.run for r in _records(tmp_path) if r.HasField("run"))
    assert (len(run.display_name), len(run.run_group)) == (128, 128)
    assert all(len(tag) <= 64 for tag in run.tags)
