"""Weights & Biases: one run per job, grouped by sweep; curves, traces, chosen set and model.

Works online and offline (`wandb sync` uploads an offline run later). The local report never needs
it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from s1x.classes import module_of
from s1x.console import say
from s1x.errors import SettingError, UserError, reason_of
from s1x.option import option, setting
from s1x.report.tracker import (
    METRICS,
    TRACE_COLUMNS,
    Folders,
    Json,
    Tracker,
    brief,
    curve_name,
    headline_numbers,
    settings_of,
    trace_rows,
)

if TYPE_CHECKING:
    from wandb import Run

#: letters that the service takes
MOST_NAME, MOST_TAG = 128, 64
MODES = ("online", "offline", "disabled")
OF_CURVE = ("benchmark", "model", "model_role", "prompt_format", "policy")
OF_POINT = ("setting", "mean_thinking_tokens", "accuracy_percent")
CURVE_COLUMNS = ("curve", *OF_CURVE, *OF_POINT, "low_percent", "high_percent", "n", "samples")
METRIC_COLUMNS = ("benchmark", "model", "control %", "scaling per doubling", "performance %")
CHOSEN_FILES = ("chosen.parquet", "s1k.parquet", "funnel.json", "README.md")


class Saved(Protocol):
    """A W&B Report."""

    def save(self) -> object:
        """Sends it."""


@option("tracker", "wandb")
@dataclass(frozen=True)
class WeightsAndBiases(Tracker):
    """Logs a run to Weights & Biases."""

    project: str = setting("s1x", "project of the runs")
    entity: str | None = setting(None, "user or team; null: your default")
    mode: str | None = setting(
        None, "online, offline (no network) or disabled; null: WANDB_MODE, else online"
    )
    group: str | None = setting(None, "null: the sweep's name, so that its jobs stand together")
    tags: list[str] = setting(factory=list, doc="tags of the run")
    log_model: bool = setting(True, "upload the fine-tuned model as an artifact")
    max_traces: int = setting(
        500, "traces in the table of traces, evenly over the rows", at_least=0
    )
    report: bool = setting(False, "also write a W&B Report (needs wandb-workspaces, and online)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in (None, *MODES):
            raise SettingError("mode", f"null or one of {', '.join(MODES)}", self.mode)
        if self.report and self._mode in ("offline", "disabled"):
            must = f"false when W&B is {self._mode}"
            raise SettingError("report", must, True, "set tracker.mode=online")
        if self.report and importlib.util.find_spec("wandb_workspaces") is None:
            must = "false without wandb-workspaces"
            raise SettingError("report", must, True, "pip install wandb-workspaces")

    @property
    def _mode(self) -> str | None:
        """The setting, else the environment's, which the library reads once per process only."""
        return self.mode or os.environ.get("WANDB_MODE")

    @cached_property
    def _open(self) -> list[Run]:
        """The open run, or nothing."""
        return []

    def start(self, context: Json) -> None:
        """Opens the run, with configuration and what made it.

        Raises:
            UserError: wandb is not installed, or refuses (no login, no such project).
        """
        wandb = module_of("wandb", "tracker=wandb")
        folder = Path(str(context.get("run_folder") or "."))
        folder.mkdir(parents=True, exist_ok=True)
        group = str(self.group or context.get("sweep") or "")
        name = str(context.get("job") or context.get("name") or "")
        try:
            wandb.setup(settings=wandb.Settings(silent=True))
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self._mode,
                group=brief(group, MOST_NAME) or None,
                name=brief(name, MOST_NAME) or None,
                tags=[brief(tag, MOST_TAG) for tag in (*self.tags, context.get("scale")) if tag],
                config=settings_of(context),
                dir=str(folder),
                job_type="sweep" if context.get("sweep") else "run",
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except (wandb.errors.Error, ValueError) as error:
            reason = reason_of(error)
            raise UserError(
                f"tracker=wandb cannot start ({reason}); run `wandb login`, set "
                f"tracker.mode=offline, or WANDB_MODE to one of {', '.join(MODES)}"
            ) from None
        run.define_metric("train/step")
        run.define_metric("train/*", step_metric="train/step")
        self._open.append(run)

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Logs numbers as `<stage>/<name>`; those of the whole run go to its summary."""
        for run in self._open:
            named = {f"{stage}/{name}": value for name, value in values.items()}
            if step is None:
                run.summary.update(named)  # type: ignore[no-untyped-call]
            else:
                run.log({**named, f"{stage}/step": step})

    def finish(self, summary: Json | None, folders: Folders, failed: bool) -> None:
        """Logs curves, traces and artifacts, and closes the run, as failed if it is."""
        while self._open:
            run = self._open.pop()
            code = 1
            try:
                fingerprints = {
                    stage: place.name if isinstance(place, Path) else [p.name for p in place]
                    for stage, place in folders.items()
                    if place
                }
                run.config.update({"fingerprints": fingerprints}, allow_val_change=True)  # type: ignore[no-untyped-call]
                if summary is not None:
                    self._log_summary(run, summary, folders)
                self._log_artifacts(run, folders)
                if summary is not None and self.report and not failed:
                    save_report(build_report(summary, run.project, run.entity, run.group))
                code = int(failed)
            finally:
                run.finish(exit_code=code)

    def _log_summary(self, run: Run, summary: Json, folders: Folders) -> None:
        wandb = import_module("wandb")
        run.summary.update(headline_numbers(summary))
        points = [
            [
                *(curve_name(curve), *(curve[name] for name in OF_CURVE)),
                *(point[name] for name in OF_POINT),
                *(*point["interval_percent"], point["n"], point["samples"]),
            ]
            for curve in summary["curves"]
            for point in curve["points"]
        ]
        logged = {"curves": wandb.Table(columns=list(CURVE_COLUMNS), data=points)}
        thinking = [c for c in summary["curves"] if c["prompt_format"] != "direct"]
        for benchmark in _benchmarks(summary):  # a plot each, a line per curve
            curves = [c for c in thinking if c["benchmark"] == benchmark]
            x, y = "mean_thinking_tokens", "accuracy_percent"
            known = [[p for p in c["points"] if p[x] is not None] for c in curves]
            logged[f"curve/{benchmark}"] = wandb.plot.line_series(
                xs=[[p[x] for p in points] for points in known],
                ys=[[p[y] for p in points] for points in known],
                keys=[c["name"] for c in curves],
                title=f"{benchmark}: accuracy (%)",
                xname="mean thinking tokens",
            )
        run.log(logged)
        if rows := [list(row.values()) for row in trace_rows(folders, self.max_traces)]:
            run.log({"traces": wandb.Table(columns=list(TRACE_COLUMNS), data=rows)})

    def _log_artifacts(self, run: Run, folders: Folders) -> None:
        wandb = import_module("wandb")
        select, train = folders.get("select"), folders.get("train")
        if isinstance(select, Path):
            artifact = wandb.Artifact(f"chosen-{select.name}", type="dataset")
            for path in (select / name for name in CHOSEN_FILES):
                if path.is_file():
                    artifact.add_file(str(path))
            run.log_artifact(artifact)
        if isinstance(train, Path) and self.log_model and (train / "model").is_dir():
            artifact = wandb.Artifact(f"model-{train.name}", type="model")
            artifact.add_dir(str(train / "model"))
            run.log_artifact(artifact)


def _benchmarks(summary: Json) -> list[str]:
    return list(dict.fromkeys(curve["benchmark"] for curve in summary["curves"]))


# -- W&B Reports -----------------------------------------------------------------------------------


def build_report(summary: Json, project: str, entity: str | None, group: str | None) -> Saved:
    """A W&B Report with the local report's sections, not yet saved.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    wr = module_of("wandb_workspaces.reports.v2", "tracker.report=true")
    entity, curves = entity or "", summary["curves"]
    runs = wr.Runset(project=project, entity=entity, groupby=["group"] if group else [])
    plots = [
        wr.CustomChart(
            chart_name="wandb/lineseries/v0",
            query={"summaryTable": {"tableKey": f"curve/{name}_table"}},
            chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
            chart_strings={"title": f"{name}: accuracy (%)", "xname": "mean thinking tokens"},
        )
        for name in _benchmarks(summary)
    ]
    loss = wr.LinePlot(x="train/step", y=["train/loss"], title="Training loss")
    traces = wr.WeaveBlockSummaryTable(entity=entity, project=project, table_name="traces")
    metrics = [[c["benchmark"], c["name"], *(c[m]["value"] for m in METRICS)] for c in curves]
    steps = [
        [run["label"], step["step"], step["rows_in"], step["rows_out"]]
        for run in summary.get("runs") or []
        for step in run.get("funnel") or []
    ]
    units, shares = ("wall_seconds", "gpu_hours", "usd"), summary["costs"]["sft_share_percent"]
    costs = [[unit, summary["costs"][unit], shares.get(unit)] for unit in units]
    sections = {
        "Test-time scaling": wr.PanelGrid(runsets=[runs], panels=plots),
        "Control, scaling, performance": [METRIC_COLUMNS, *metrics],
        "From the pool to the chosen set": [("run", "step", "rows in", "rows out"), *steps],
        "Training": wr.PanelGrid(runsets=[runs], panels=[loss]),
        "What it cost": [("unit", "whole", "share of SFT, %"), *costs],
        "Traces": traces,
    }
    blocks = [wr.TableOfContents()]
    blocks += [wr.CalloutBlock(text=line) for line in summary.get("notes") or []]
    for heading, block in sections.items():
        table = isinstance(block, list)
        blocks += [wr.H1(text=heading), wr.MarkdownBlock(text=markdown(block)) if table else block]
    title = f"s1x: {summary.get('title') or project} ({summary.get('scale')})"
    report: Saved = wr.Report(project=project, entity=entity, title=title, blocks=blocks)
    return report


def save_report(report: Saved) -> None:
    """Saves a W&B Report; where that fails it says so in a sentence, and the run stays whole."""
    try:
        report.save()
    except Exception as error:  # whatever the service or its client says
        reason = reason_of(error)
        say(
            f"The W&B Report was not saved ({reason}); the run and the local report are whole: "
            "log in by `wandb login` and run the same command, or set tracker.report=false"
        )


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first row is its header."""
    head, *body = [[_cell(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *body))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "—" if value is None else str(value).replace("|", "\\|")
