"""Weights & Biases: one run a job, grouped by sweep; curves, traces, chosen set and model.

Works online and offline (`wandb sync` uploads an offline run later). The local report never needs
it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from s1x.console import say
from s1x.errors import SettingError, UserError
from s1x.option import option, setting
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
CURVE_COLUMNS = (
    *("curve", "benchmark", "model", "model_role", "prompt_format", "policy", "setting"),
    *("mean_thinking_tokens", "accuracy_percent", "low_percent", "high_percent", "n", "samples"),
)
TRACE_COLUMNS = (
    *("benchmark", "problem_id", "model_role", "prompt_format", "setting", "sample", "verdict"),
    *("end_reason", "thinking_tokens", "num_waits", "question", "reference_answer"),
    *("extracted_answer", "thinking_text", "answer_text"),
)
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
        mode = self.mode or os.environ.get("WANDB_MODE")
        if self.report and mode in ("offline", "disabled"):
            raise SettingError(
                "report", f"false when W&B is {mode}", True, "set tracker.mode=online"
            )
        if self.report and importlib.util.find_spec("wandb_workspaces") is None:
            raise SettingError(
                "report", "false without wandb-workspaces", True, "pip install wandb-workspaces"
            )

    def start(self, context: Mapping[str, Any]) -> None:
        """Opens the run, with configuration and what made it.

        Raises:
            UserError: wandb is not installed, or refuses (no login, no such project).
        """
        wandb = _module()
        folder = Path(str(context.get("run_folder") or "."))
        folder.mkdir(parents=True, exist_ok=True)
        wandb.setup(settings=wandb.Settings(silent=True))
        try:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                # the library reads its environment once a process
                mode=self.mode or os.environ.get("WANDB_MODE"),
                group=brief(str(self.group or context.get("sweep") or ""), MOST_NAME) or None,
                name=brief(str(context.get("job") or context.get("name") or ""), MOST_NAME) or None,
                tags=[brief(tag, MOST_TAG) for tag in (*self.tags, context.get("scale")) if tag],
                config=settings_of(context),
                dir=str(folder),
                job_type="sweep" if context.get("sweep") else "run",
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except (wandb.errors.Error, ValueError) as error:
            raise UserError(
                f"tracker=wandb cannot start ({error}); run `wandb login`, or set "
                "tracker.mode=offline"
            ) from None
        run.define_metric("train/step")
        run.define_metric("train/*", step_metric="train/step")
        self._open.append(run)

    @property
    def _open(self) -> list[Any]:
        """The open run, or nothing."""
        found: list[Any] = self.__dict__["_runs"]
        return found

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
        rows = list(trace_rows(folders, self.max_traces))
        if rows:
            run.log({"traces": wandb.Table(columns=list(TRACE_COLUMNS), data=rows)})

    def _log_artifacts(self, run: Any, folders: Folders) -> None:
        wandb = _module()
        select, train = folders.get("select"), folders.get("train")
        if isinstance(select, Path):
            artifact = wandb.Artifact(f"chosen-{select.name}", type="dataset")
            for name in CHOSEN_FILES:
                if (select / name).is_file():
                    artifact.add_file(str(select / name))
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
    found: dict[str, Any] = {}
    for stage, place in folders.items():
        if isinstance(place, Path):
            found[stage] = place.name
        elif place:
            found[stage] = [path.name for path in place]
    return found


def curve_rows(summary: Mapping[str, Any]) -> Iterator[list[Any]]:
    """One row a point of every curve, in the order of `CURVE_COLUMNS`."""
    for curve in summary["curves"]:
        names = ("benchmark", "model", "model_role", "prompt_format", "policy")
        shared = [curve_name(curve), *(curve[name] for name in names)]
        for p in curve["points"]:
            numbers = [p["mean_thinking_tokens"], p["accuracy_percent"], *p["interval_percent"]]
            yield [*shared, p["setting"], *numbers, p["n"], p["samples"]]


def _plots(wandb: Any, summary: Mapping[str, Any]) -> dict[str, Any]:
    """One line plot a benchmark: accuracy over mean thinking tokens, a line a curve."""
    plots = {}
    for benchmark in dict.fromkeys(c["benchmark"] for c in summary["curves"]):
        curves = [
            c
            for c in summary["curves"]
            if c["benchmark"] == benchmark and c["prompt_format"] != "direct"
        ]
        plots[f"curve/{benchmark}"] = wandb.plot.line_series(
            xs=[[p["mean_thinking_tokens"] for p in c["points"]] for c in curves],
            ys=[[p["accuracy_percent"] for p in c["points"]] for c in curves],
            keys=[c["name"] for c in curves],
            title=f"{benchmark}: accuracy (%)",
            xname="mean thinking tokens",
        )
    return plots


def trace_rows(folders: Folders, most: int) -> Iterator[list[Any]]:
    """Rows of the evaluations in the order of `TRACE_COLUMNS`, evenly thinned to `most`."""
    import pyarrow.parquet as pq

    evaluated = folders.get("evaluate") or []
    places = [evaluated] if isinstance(evaluated, Path) else evaluated
    files = [place / "rows.parquet" for place in places if (place / "rows.parquet").is_file()]
    for file in files if most else []:
        table = pq.read_table(file, columns=list(TRACE_COLUMNS))
        share = max(1, most // len(files))
        step = max(1, -(-table.num_rows // share))
        for row in table.take(list(range(0, table.num_rows, step))).to_pylist():
            yield [row[name] for name in TRACE_COLUMNS]


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
    benchmarks = list(dict.fromkeys(c["benchmark"] for c in summary["curves"]))
    plots = [
        wr.CustomChart(
            chart_name="wandb/lineseries/v0",
            query={"summaryTable": {"tableKey": f"curve/{name}_table"}},
            chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
            chart_strings={"title": f"{name}: accuracy (%)", "xname": "mean thinking tokens"},
        )
        for name in benchmarks
    ]
    loss = wr.LinePlot(x="train/step", y=["train/loss"], title="Training loss")
    blocks = [
        wr.TableOfContents(),
        *[wr.CalloutBlock(text=line) for line in summary.get("notes") or []],
        wr.H1(text="Test-time scaling"),
        wr.PanelGrid(runsets=[runs], panels=plots),
        wr.H1(text="Control, scaling, performance"),
        wr.MarkdownBlock(text=_metrics_markdown(summary)),
        wr.H1(text="From the pool to the chosen set"),
        wr.MarkdownBlock(text=_funnel_markdown(summary)),
        wr.H1(text="Training"),
        wr.PanelGrid(runsets=[runs], panels=[loss]),
        wr.H1(text="What it cost"),
        wr.MarkdownBlock(text=_costs_markdown(summary)),
        wr.H1(text="Traces"),
        wr.WeaveBlockSummaryTable(entity=entity or "", project=project, table_name="traces"),
    ]
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


def _metrics_markdown(summary: Mapping[str, Any]) -> str:
    lines = ["| benchmark | model | control % | scaling per doubling | performance % |"]
    lines.append("|---|---|---|---|---|")
    for c in summary["curves"]:
        names = ("control_percent", "scaling_per_doubling", "performance_percent")
        numbers = " | ".join(_cell(c[name]["value"]) for name in names)
        lines.append(f"| {c['benchmark']} | {c['name']} | {numbers} |")
    return "\n".join(lines)


def _funnel_markdown(summary: Mapping[str, Any]) -> str:
    lines = ["| run | step | rows in | rows out |", "|---|---|---|---|"]
    for run in summary.get("runs") or []:
        for step in run.get("funnel") or []:
            lines.append(
                f"| {run['label']} | {step['step']} | {step['rows_in']} | {step['rows_out']} |"
            )
    return "\n".join(lines)


def _costs_markdown(summary: Mapping[str, Any]) -> str:
    costs = summary["costs"]
    lines = ["| unit | whole | share of SFT, % |", "|---|---|---|"]
    for unit in ("wall_seconds", "gpu_hours", "usd"):
        share = costs["sft_share_percent"].get(unit)
        lines.append(f"| {unit} | {_cell(costs[unit])} | {_cell(share)} |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "—" if value is None else f"{value:,.1f}"
