"""What a report is made from: evaluation folders, and what selection and training left behind.

Everything is read once, here; one run is a list of one. A file that is not there leaves its part
of the report out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from s1x.budget.policy import Policy
from s1x.curve import Allocation, Cell, Curve, Point, allocate, cells, curve, told_apart
from s1x.curve import read as read_rows
from s1x.errors import UserError
from s1x.option import option_class
from s1x.report.charts import RUN_HUES

ROLE_WORDS = {"base": "base", "fine_tuned": "fine-tuned"}
NATURAL_SETTING = "natural"
SWEPT_SETTINGS = ("max_thinking_tokens", "num_waits", "min_thinking_tokens")
JOINED = "all jobs"
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """One curve of one run: a model, prompt format and policy on one benchmark."""

    run: str
    folder: Path
    info: Json
    cells: Sequence[Cell]

    @cached_property
    def curve(self) -> Curve:
        """Points, intervals and the paper's three metrics."""
        return curve(self.cells)

    @cached_property
    def allocation(self) -> Allocation | None:
        """How the points' tokens met what the questions needed; None for a single point."""
        return allocate(self.cells)

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from other evaluations, whatever run names it."""
        return (self.folder.resolve(), *self.cells[0].key)

    @property
    def benchmark(self) -> str:
        """Name of its benchmark."""
        return self.cells[0].benchmark

    @property
    def role(self) -> str:
        """`base` or `fine_tuned`."""
        return self.cells[0].model_role

    @property
    def direct(self) -> bool:
        """Whether the model was asked to answer without thinking."""
        return self.cells[0].prompt_format == "direct"

    @property
    def policy(self) -> str:
        """Name of its budget policy."""
        return self.cells[0].policy

    @property
    def about(self) -> Json:
        """What the benchmark says of itself."""
        return self.info.get("benchmark_info") or {}

    def settings(self, cell: Cell) -> Json:
        """The policy's settings at a point of the curve, as evaluation.json has them."""
        found = [e for e in self.info.get("points") or [] if e.get("point") == cell.point]
        return (found[0].get("settings") if found else None) or {}

    def cell(self, setting: str) -> Cell | None:
        """The cell with this label, or None."""
        return next((cell for cell in self.cells if cell.setting == setting), None)

    def point(self, cell: Cell) -> Point:
        """A cell's numbers."""
        return next(p for p in self.curve.points if p.point == cell.point)

    def num_waits(self, cell: Cell) -> int:
        """Waits that a cell's setting asks for."""
        return int(self.settings(cell).get("num_waits") or 0)

    @cached_property
    def natural(self) -> Cell:
        """The cell in which the model decides: no limit, no Wait; else the last without a Wait."""
        plain = [c for c in self.cells if not self.num_waits(c)] or [self.cells[0]]
        return self.cell(NATURAL_SETTING) or plain[-1]

    @cached_property
    def best(self) -> Cell:
        """The cell with the highest accuracy (the first of equals)."""
        return max(self.cells, key=lambda c: (self.point(c).accuracy_percent or 0.0, -c.point))


@dataclass(frozen=True)
class Run:
    """One run: its curves, its selection (with the stage's folder) and training."""

    label: str
    series: tuple[Series, ...]
    funnel: Json | None = None
    selection: Path | None = None
    training: Json | None = None
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """All runs of a report with the context that the front end gives.

    Attributes:
        folders: every evaluation folder once, with the label of its (first) run.
    """

    context: Json
    runs: Sequence[Run]
    folders: Sequence[tuple[str, Path]]
    cost_folders: Sequence[Path]

    @cached_property
    def series(self) -> list[Series]:
        """Every curve once: a base model's evaluation that runs share belongs to the first."""
        unique: dict[tuple[object, ...], Series] = {}
        for item in (item for run in self.runs for item in run.series):
            unique.setdefault(item.key, item)
        return list(unique.values())

    def runs_of(self, series: Series) -> list[str]:
        """Labels of the runs that a curve belongs to: a base model's evaluation may be shared."""
        holders = [r.label for r in self.runs if any(s.key == series.key for s in r.series)]
        return list(dict.fromkeys([series.run, *holders]))

    @cached_property
    def benchmarks(self) -> list[str]:
        """Names of the benchmarks, the main one first, then in order of appearance."""
        names = list(dict.fromkeys(item.benchmark for item in self.series))
        return sorted(names, key=lambda name: self.main is None or name != self.main.benchmark)

    def on(self, benchmark: str) -> list[Series]:
        """Curves on one benchmark, fine-tuned models first."""
        found = [item for item in self.series if item.benchmark == benchmark]
        return sorted(found, key=lambda item: (item.direct, item.role != "fine_tuned"))

    @cached_property
    def thinking(self) -> list[Series]:
        """Curves with thinking, the main benchmark's first."""
        return [s for name in self.benchmarks for s in self.on(name) if not s.direct]

    @cached_property
    def tuned(self) -> list[Series]:
        """Thinking curves of fine-tuned models; of base models where there is no other."""
        return [s for s in self.thinking if s.role != "base"] or self.thinking

    def first(self, found: Sequence[Series]) -> list[Series]:
        """The first of these curves on each benchmark."""
        first = {series.benchmark: series for series in reversed(found)}
        return [first[name] for name in self.benchmarks if name in first]

    @cached_property
    def main(self) -> Series | None:
        """The curve that the report opens with: a fine-tuned model's, where there is one.

        `context["main_benchmark"]` chooses; else the first benchmark whose name ends in `hard`,
        else the first.
        """
        names = list(dict.fromkeys(item.benchmark for item in self.series))
        hard = [name for name in names if name.endswith("hard")]
        wanted = [self.context.get("main_benchmark"), *hard, *names]
        return next((s for b in wanted for s in self.on(str(b)) if not s.direct), None)

    @cached_property
    def rivals(self) -> list[Series]:
        """The tuned curves on the main benchmark."""
        return [s for s in self.tuned if self.main and s.benchmark == self.main.benchmark]

    @cached_property
    def reference(self) -> str:
        """The run that others are compared with: the context's, else the first."""
        wanted, labels = self.context.get("reference"), [s.run for s in self.tuned]
        return str(wanted) if wanted in labels or not labels else labels[0]

    def name(self, series: Series) -> str:
        """What tells a curve from the others of the report, and no more."""
        same = [s for s in self.series if s.role == series.role and s.run == series.run]
        words = ROLE_WORDS.get(series.role, series.role)
        parts = [words + (", direct answer" if series.direct else "")]
        if len({s.cells[0].model for s in same}) > 1:
            parts.append(series.cells[0].model)
        if len({s.policy for s in same if not s.direct}) > 1 and not series.direct:
            parts.append(series.policy.replace("_", " "))
        key = series.cells[0].key
        unlike = [s for s in self.series if s.run != series.run and s.cells[0].key == key]
        shared = series.role == "base" and not any(s.role == "base" for s in unlike)
        if len(self.runs) > 1 and not shared:
            parts.insert(0, series.run)
        return ", ".join(parts)

    def hue(self, series: Series) -> str:
        """One colour per role in a single run, one per run where there are several."""
        if series.role == "base":
            return "blue"
        order = list(dict.fromkeys((s.run, s.policy) for s in self.series if s.role != "base"))
        return RUN_HUES[order.index((series.run, series.policy)) % len(RUN_HUES)]

    def tokenizer(self, model: str) -> str | None:
        """Where a model's tokenizer is; an evaluation's files are not asked: whose are they?"""
        found: str | None = (self.context.get("tokenizers") or {}).get(model)
        return found

    def key(self, kind: str, series: Series) -> str:
        """The key of a curve's own picture, apart from those of other runs."""
        return f"{kind}_{series.benchmark}" + (f"_{series.run}" if len(self.runs) > 1 else "")


def read(
    context: Json, evaluations: Iterable[Path], selection: Path | None, training: Path | None
) -> Inputs:
    """Reads a run's folders, or those of the many runs in `context["runs"]`; see `s1x.report.run`.

    Raises:
        UserError: no evaluation rows, or a file that is not what it should be.
    """
    context = clean(context)
    one = {"label": context.get("name") or "run", "settings": context.get("settings")}
    one |= {"evaluations": list(evaluations), "selection": selection, "training": training}
    given = context.get("runs") or [one]
    cache: dict[Path, tuple[Json, list[list[Cell]]]] = {}
    runs = [_read_run(entry, cache) for entry in given]
    series = [item for run in runs for item in run.series]
    if not series:
        raise UserError("there are no evaluation rows to report on; run stages=[evaluate,report]")
    labels: dict[Path, tuple[str, Path]] = {}
    for item in series:
        labels.setdefault(item.folder.resolve(), (item.run, item.folder))
    costs = list(context.get("cost_folders") or [])
    for entry in given:
        costs += [entry.get("selection"), entry.get("training"), *entry["evaluations"]]
    unique = dict.fromkeys(Path(folder).resolve() for folder in costs if folder is not None)
    # benchmarks that share no question get different names
    apart = iter(told_apart([item.cells for item in series]))
    runs = [
        replace(run, series=tuple(replace(s, cells=next(apart)) for s in run.series))
        for run in runs
    ]
    return Inputs(context, join_points(runs), list(labels.values()), list(unique))


def clean(value: Any) -> Any:
    """A value whose texts can be written: JSON may hold halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {clean(k): clean(v) for k, v in value.items()}
    return [clean(v) for v in value] if isinstance(value, list) else value


def read_json(folder: Path | None, name: str) -> Any:
    """A JSON file of a stage's folder, None where it is not there.

    Raises:
        UserError: it is not JSON.
    """
    if folder is None or not (file := Path(folder) / name).is_file():
        return None
    try:
        return clean(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); redo its stage with force=[...]") from None


def _read_run(entry: Json, cache: dict[Path, tuple[Json, list[list[Cell]]]]) -> Run:
    label, series = str(entry["label"]), []
    for path in map(Path, entry["evaluations"]):
        if path not in cache:
            groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
            for cell in cells(read_rows([path])):
                groups[cell.key].append(cell)
            cache[path] = read_json(path, "evaluation.json") or {}, list(groups.values())
        info, curves = cache[path]
        series += [Series(label, path, info, found) for found in curves]
    return Run(
        label=label,
        series=tuple(series),
        funnel=read_json(entry.get("selection"), "funnel.json"),
        selection=Path(entry["selection"]) if entry.get("selection") else None,
        training=read_json(entry.get("training"), "train.json"),
        settings=entry.get("settings") or {},
    )


# -- curves measured point by point ----------------------------------------------------------------


def join_points(runs: Sequence[Run]) -> list[Run]:
    """Joins the one-point curves of runs that differ only in the swept settings of their policy.

    A joined curve belongs to the first of its runs; runs that keep no curve of their own vanish.
    Points with equal labels are different things (two seeds, two wait strings) and stay apart.
    """
    groups: dict[str, list[Series]] = defaultdict(list)
    for run in runs:
        for series in run.series:
            if len(series.cells) == 1 and not series.direct:
                groups[_sameness(run, series)].append(series)
    instead: dict[int, list[Series]] = {}
    for members in groups.values():
        if 1 < len(members) == len({series.cells[0].setting for series in members}):
            instead |= {id(series): [] for series in members}
            instead[id(members[0])] = [_joined(members)]
    if not instead:
        return list(runs)
    kept: list[Run] = []
    seen: set[tuple[object, ...]] = set()
    for run in runs:
        joined = [new for s in run.series for new in instead.get(id(s), [])]
        curves = (*(s for s in run.series if id(s) not in instead), *joined)
        own = {s.key for s in curves}
        if own - seen:  # else its curves all stand in a run before: a shared base model
            kept.append(replace(run, series=curves))
        seen |= own
    if len(kept) > 1:
        return kept
    named = tuple(replace(series, run=JOINED) for series in kept[0].series)
    return [replace(kept[0], label=JOINED, series=named)]


def _swept_settings(policy: str) -> tuple[str, ...]:
    """The settings that make a policy's curve, as its class declares them.

    A dotted name is a class of somebody's own: rows may not say what is imported.
    """
    if "." in policy:
        return SWEPT_SETTINGS
    try:
        found = option_class("budget", policy, "policy")
    except UserError:
        return SWEPT_SETTINGS
    return (found.swept_settings if issubclass(found, Policy) else ()) or SWEPT_SETTINGS


def _sameness(run: Run, series: Series) -> str:
    """Equal for points of one curve: everything but the policy's swept settings."""
    info, swept = series.info, _swept_settings(series.policy)
    settings = series.settings(series.cells[0]) or info.get("policy_settings") or {}
    kept = {k: v for k, v in settings.items() if k not in swept}
    parts = [series.cells[0].key, info.get("model_fingerprint"), kept, info.get("seed")]
    parts += [info.get("sampling"), run.settings.get("seed")]
    return json.dumps(parts, sort_keys=True, default=str)


def _joined(members: list[Series]) -> Series:
    """One series of the first one's run, its points in order of tokens where these are known."""
    run = members[0].run
    if all(s.curve.points[0].mean_thinking_tokens is not None for s in members):
        members = sorted(members, key=lambda s: s.curve.points[0].mean_thinking_tokens or 0.0)
    points = [{"point": i, "settings": s.settings(s.cells[0])} for i, s in enumerate(members)]
    first = members[0]
    found = [replace(s.cells[0], point=i) for i, s in enumerate(members)]
    return Series(run, first.folder, {**first.info, "points": points}, found)
