"""Weights & Biases: one run per job, grouped by sweep; curves, traces, chosen set and model.

Works online and offline (`wandb sync` uploads an offline run later). The local report never needs
it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from s1x.console import say
from s1x.errors import SettingError, UserError
from s1x.option import option, setting
from s1x.report.trace_rows import TRACE_COLUMNS, trace_rows
from s1x.report.tracker import (
    Folders,
    Tracker,
    brief,
    curve_name,
    headline_numbers,
    settings_of,
)

#: letters that the service takes
MOST_NAME, MOST_TAG = 128, 64
MODES = ("online", "offline", "disabled")
OF_CURVE = ("benchmark", "model", "model_role", "prompt_format", "policy")
OF_POINT = ("setting", "mean_thinking_tokens", "accuracy_percent")
CURVE_COLUMNS = ("curve", *OF_CURVE, *OF_POINT, "low_percent", "high_percent", "n", "samples")
CHOSEN_FILES = ("chosen.parquet", "s1k.parquet", "funnel.json", "README.md")


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
        object.__setattr__(self, "_runs", [])
        if self.mode not in (None, *MODES):
            raise SettingError("mode", f"null or one of {', '.join(MODES)}", self.mode)
        if self.report and self._mode() in ("offline", "disabled"):
            must = f"false when W&B is {self._mode()}"
            raise SettingError("report", must, True, "set tracker.mode=online")
        if self.report and importlib.util.find_spec("wandb_workspaces") is None:
            must = "false without wandb-workspaces"
            raise SettingError("report", must, True, "pip install wandb-workspaces")

    def _mode(self) -> str | None:
        """The setting, else the environment's, which the library reads once per process only."""
        return self.mode or os.environ.get("WANDB_MODE")

    @property
    def _open(self) -> list[Any]:
        """The open run, or nothing."""
        found: list[Any] = self.__dict__["_runs"]
        return found

    def start(self, context: Mapping[str, Any]) -> None:
        """Opens the run, with configuration and what made it.

        Raises:
            UserError: wandb is not installed, or refuses (no login, no such project).
        """
        wandb = _module()
        folder = Path(str(context.get("run_folder") or "."))
        folder.mkdir(parents=True, exist_ok=True)
        group = str(self.group or context.get("sweep") or "")
        name = str(context.get("job") or context.get("name") or "")
        try:
            wandb.setup(settings=wandb.Settings(silent=True))
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self._mode(),
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
            reason = " ".join(str(error).split())
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
                run.summary.update(named)
            else:
                run.log({**named, f"{stage}/step": step})

    def finish(self, summary: Mapping[str, Any] | None, folders: Folders, failed: bool) -> None:
        """Logs curves, traces and artifacts, and closes the run, as failed if it is."""
        while self._open:
            run = self._open.pop()
            ok = False
            try:
                run.config.update({"fingerprints": _fingerprints(folders)}, allow_val_change=True)
                if summary is not None:
                    self._log_summary(run, summary, folders)
                self._log_artifacts(run, folders)
                if summary is not None and self.report and not failed:
                    save_report(build_report(summary, run.project, run.entity, run.group))
                ok = True
            finally:
                run.finish(exit_code=0 if ok and not failed else 1)

    def _log_summary(self, run: Any, summary: Mapping[str, Any], folders: Folders) -> None:
        wandb = _module()
        run.summary.update(headline_numbers(summary))
        table = wandb.Table(columns=list(CURVE_COLUMNS), data=list(curve_rows(summary)))
        run.log({"curves": table, **_plots(wandb, summary)})
        rows = [list(row.values()) for row in trace_rows(folders, self.max_traces)]
        if rows:
            run.log({"traces": wandb.Table(columns=list(TRACE_COLUMNS), data=rows)})

    def _log_artifacts(self, run: Any, folders: Folders) -> None:
        wandb = _module()
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


def _module() -> Any:
    try:
        import wandb
    except ImportError:
        raise UserError(
            "tracker=wandb needs the package wandb, which is not installed; pip install wandb"
        ) from None
    return wandb


def _fingerprints(folders: Folders) -> dict[str, Any]:
    """Artifacts go by their fingerprints: stage → folder name, or names."""
    return {
        stage: place.name if isinstance(place, Path) else [path.name for path in place]
        for stage, place in folders.items()
        if place
    }


def curve_rows(summary: Mapping[str, Any]) -> Iterator[list[Any]]:
    """One row per point of every curve, in the order of `CURVE_COLUMNS`."""
    for curve in summary["curves"]:
        shared = [curve_name(curve), *(curve[name] for name in OF_CURVE)]
        for p in curve["points"]:
            numbers = [*(p[name] for name in OF_POINT), *p["interval_percent"]]
            yield [*shared, *numbers, p["n"], p["samples"]]


def _benchmarks(summary: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(curve["benchmark"] for curve in summary["curves"]))


def _plots(wandb: Any, summary: Mapping[str, Any]) -> dict[str, Any]:
    """One line plot per benchmark: accuracy over mean thinking tokens, a line per curve."""
    plots = {}
    thinking = [c for c in summary["curves"] if c["prompt_format"] != "direct"]
    for benchmark in _benchmarks(summary):
        curves = [c for c in thinking if c["benchmark"] == benchmark]
        plots[f"curve/{benchmark}"] = wandb.plot.line_series(
            xs=[[p["mean_thinking_tokens"] for p in c["points"]] for c in curves],
            ys=[[p["accuracy_percent"] for p in c["points"]] for c in curves],
            keys=[c["name"] for c in curves],
            title=f"{benchmark}: accuracy (%)",
            xname="mean thinking tokens",
        )
    return plots


# -- W&B Reports -----------------------------------------------------------------------------------


def build_report(
    summary: Mapping[str, Any], project: str, entity: str | None, group: str | None
) -> Any:
    """A W&B Report with the local report's sections, not yet saved.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        wr: Any = import_module("wandb_workspaces.reports.v2")
    except ImportError:
        raise UserError(
            "tracker.report needs the package wandb-workspaces, which is not installed; "
            "pip install wandb-workspaces, or set tracker.report=false"
        ) from None
    runs = wr.Runset(project=project, entity=entity or "", groupby=["group"] if group else [])
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
    traces = wr.WeaveBlockSummaryTable(entity=entity or "", project=project, table_name="traces")
    sections = {
        "Test-time scaling": wr.PanelGrid(runsets=[runs], panels=plots),
        "Control, scaling, performance": wr.MarkdownBlock(text=_metrics_table(summary)),
        "From the pool to the chosen set": wr.MarkdownBlock(text=_funnel_table(summary)),
        "Training": wr.PanelGrid(runsets=[runs], panels=[loss]),
        "What it cost": wr.MarkdownBlock(text=_costs_table(summary)),
        "Traces": traces,
    }
    blocks = [wr.TableOfContents()]
    blocks += [wr.CalloutBlock(text=line) for line in summary.get("notes") or []]
    for heading, block in sections.items():
        blocks += [wr.H1(text=heading), block]
    title = f"s1x: {summary.get('title') or project} ({summary.get('scale')})"
    return wr.Report(project=project, entity=entity or "", title=title, blocks=blocks)


def save_report(report: Any) -> bool:
    """Saves a W&B Report; where that fails it says so in a sentence, and the run stays whole."""
    try:
        report.save()
    except Exception as error:  # whatever the service or its client says
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        say(
            f"The W&B Report was not saved ({reason}); the run and the local report are whole: "
            "log in by `wandb login` and run the same command, or set tracker.report=false"
        )
        return False
    return True


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first row is its header."""
    head, *body = [[_cell(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *body))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "—" if value is None else str(value).replace("|", "\\|")


def _metrics_table(summary: Mapping[str, Any]) -> str:
    names = ("control_percent", "scaling_per_doubling", "performance_percent")
    head = ["benchmark", "model", "control %", "scaling per doubling", "performance %"]
    return markdown(
        [
            head,
            *[
                [c["benchmark"], c["name"], *(c[name]["value"] for name in names)]
                for c in summary["curves"]
            ],
        ]
    )


def _funnel_table(summary: Mapping[str, Any]) -> str:
    steps = [
        [run["label"], step["step"], step["rows_in"], step["rows_out"]]
        for run in summary.get("runs") or []
        for step in run.get("funnel") or []
    ]
    return markdown([["run", "step", "rows in", "rows out"], *steps])


def _costs_table(summary: Mapping[str, Any]) -> str:
    costs = summary["costs"]
    units = ("wall_seconds", "gpu_hours", "usd")
    rows = [[unit, costs[unit], costs["sft_share_percent"].get(unit)] for unit in units]
    return markdown([["unit", "whole", "share of SFT, %"], *rows])
