"""What a report is made from: evaluation folders, and what selection and training left behind.

Everything is read once, here. A file that is not there leaves its part of the report out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError

if TYPE_CHECKING:
    from s1x.curve import Cell, Curve

ROLE_WORDS = {"base": "base", "fine_tuned": "fine-tuned"}


@dataclass(frozen=True)
class Series:
    """One curve of one run: a model, prompt format and policy on one benchmark."""

    run: str
    folder: Path
    info: Mapping[str, Any]
    cells: Sequence[Cell]

    @cached_property
    def curve(self) -> Curve:
        """Points, intervals and the paper's three metrics."""
        from s1x.curve import curve

        return curve(self.cells)

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

    def settings(self, point: int) -> dict[str, Any]:
        """The policy's settings at a point of the curve, as evaluation.json has them."""
        for entry in self.info.get("points") or []:
            if entry.get("point") == point:
                return dict(entry.get("settings") or {})
        return {}

    def cell(self, setting: str) -> Cell | None:
        """The cell with this label, or None."""
        return next((cell for cell in self.cells if cell.setting == setting), None)

    @cached_property
    def natural(self) -> Cell:
        """The cell in which the model decides: no limit, no Wait; else the last without a Wait."""
        for cell in self.cells:
            if cell.setting == "natural":
                return cell
        plain = [c for c in self.cells if not self.settings(c.point).get("num_waits")]
        return plain[-1] if plain else self.cells[0]

    @cached_property
    def best(self) -> Cell:
        """The cell with the highest accuracy (the first of equals)."""
        points = self.curve.points
        index = max(range(len(points)), key=lambda i: (points[i].accuracy_percent or 0.0, -i))
        return self.cells[index]


@dataclass(frozen=True)
class Run:
    """One run: its curves, its selection and training, and what its stages did."""

    label: str
    series: tuple[Series, ...]
    funnel: Mapping[str, Any] | None = None
    selection: Path | None = None
    """Folder of the select stage."""
    training: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """All runs of a report with the context that the front end gives."""

    context: Mapping[str, Any]
    runs: tuple[Run, ...]
    folders: tuple[tuple[str, Path], ...]
    """Every evaluation folder once, with the label of its (first) run."""
    cost_folders: tuple[Path, ...]

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """Every curve once: a base model's evaluation that runs share belongs to the first."""
        seen: dict[tuple[Any, ...], Series] = {}
        for run in self.runs:
            for item in run.series:
                seen.setdefault((item.folder.resolve(), *item.cells[0].key), item)
        return tuple(seen.values())

    def runs_of(self, series: Series) -> list[str]:
        """Labels of the runs that a curve belongs to: a base model's evaluation may be shared."""
        key = (series.folder.resolve(), *series.cells[0].key)
        holders = [
            run.label
            for run in self.runs
            if any((s.folder.resolve(), *s.cells[0].key) == key for s in run.series)
        ]
        return list(dict.fromkeys([series.run, *holders]))

    @cached_property
    def benchmarks(self) -> tuple[str, ...]:
        """Names of the benchmarks in order of appearance."""
        return tuple(dict.fromkeys(item.benchmark for item in self.series))

    def on(self, benchmark: str) -> list[Series]:
        """Curves on one benchmark, fine-tuned models first."""
        found = [item for item in self.series if item.benchmark == benchmark]
        return sorted(found, key=lambda item: (item.direct, item.role != "fine_tuned"))

    @cached_property
    def main(self) -> Series | None:
        """The curve that the report opens with: a fine-tuned model's, where there is one.

        `context["main_benchmark"]` chooses; else the first benchmark whose name ends in `hard`,
        else the first.
        """
        wanted = self.context.get("main_benchmark")
        hard = [b for b in self.benchmarks if b.endswith("hard")]
        for benchmark in [wanted, *hard, *self.benchmarks]:
            found = [s for s in self.on(str(benchmark)) if not s.direct]
            if found:
                return found[0]
        return None

    def name(self, series: Series) -> str:
        """What tells a curve from the others of the report, and no more."""
        same = [s for s in self.series if s.role == series.role and s.run == series.run]
        words = ROLE_WORDS.get(series.role, series.role)
        parts = [words + (", direct answer" if series.direct else "")]
        if len({s.cells[0].model for s in same}) > 1:
            parts.append(series.cells[0].model)
        if len({s.policy for s in same if not s.direct}) > 1 and not series.direct:
            parts.append(series.policy.replace("_", " "))
        shared = series.role == "base" and sum(s.role == "base" for s in self._unlike(series)) == 0
        if len(self.runs) > 1 and not shared:
            parts.insert(0, series.run)
        return ", ".join(parts)

    def tokenizer(self, model: str) -> str | None:
        """Where the tokenizer of a model is; files of an evaluation are not asked, they may be
        another's."""
        found: str | None = (self.context.get("tokenizers") or {}).get(model)
        return found

    def _unlike(self, series: Series) -> list[Series]:
        """Curves of other runs that would have the same name as this one."""
        key = series.cells[0].key
        return [s for s in self.series if s.run != series.run and s.cells[0].key == key]


def read(
    context: Mapping[str, Any],
    evaluations: Iterable[Path],
    selection: Path | None,
    training: Path | None,
) -> Inputs:
    """Reads a run's folders, or those of the many runs in `context["runs"]`.

    Args:
        context: see `s1x.report.run`.
        evaluations: evaluation folders of the one run.
        selection: folder of the select stage, if it ran.
        training: folder of the train stage, if it ran.

    Raises:
        UserError: no evaluation rows, or a file that is not what it should be.
    """
    from s1x.report.merge import join_points

    given = context.get("runs") or [
        {
            "label": context.get("name") or "run",
            "evaluations": list(evaluations),
            "selection": selection,
            "training": training,
            "settings": context.get("settings") or {},
        }
    ]
    cache: dict[Path, list[tuple[Mapping[str, Any], list[Cell]]]] = {}
    runs = tuple(_read_run(entry, cache) for entry in given)
    evaluated = [(str(e["label"]), Path(path)) for e in given for path in e["evaluations"]]
    labels: dict[Path, tuple[str, Path]] = {}
    for label, path in evaluated:
        labels.setdefault(path.resolve(), (label, path))
    if not any(run.series for run in runs):
        raise UserError("there are no evaluation rows to report on; run stages=[evaluate,report]")
    folders: list[Path] = [Path(p) for p in context.get("cost_folders") or []]
    for entry in given:
        stage_folders = [entry.get("selection"), entry.get("training"), *entry["evaluations"]]
        folders += [Path(p) for p in stage_folders if p is not None]
    unique = dict.fromkeys(folder.resolve() for folder in folders)
    runs = join_points(_told_apart(runs))
    return Inputs(context, runs, tuple(labels.values()), tuple(unique))


def _told_apart(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs with benchmarks that share no question under different names."""
    from s1x.curve import told_apart

    series = [item for run in runs for item in run.series]
    cells = iter(told_apart([item.cells for item in series]))
    return tuple(
        replace(run, series=tuple(replace(item, cells=next(cells)) for item in run.series))
        for run in runs
    )


def _read_run(entry: Mapping[str, Any], cache: dict[Path, Any]) -> Run:
    label = str(entry["label"])
    series = []
    for path in map(Path, entry["evaluations"]):
        if path not in cache:
            cache[path] = _read_evaluation(path)
        info, curves = cache[path]
        series += [Series(label, path, info, cells) for cells in curves]
    return Run(
        label=label,
        series=tuple(series),
        funnel=_json(entry.get("selection"), "funnel.json"),
        selection=Path(entry["selection"]) if entry.get("selection") else None,
        training=_json(entry.get("training"), "train.json"),
        settings=entry.get("settings") or {},
    )


def _read_evaluation(path: Path) -> tuple[Mapping[str, Any], list[list[Cell]]]:
    from s1x import curve

    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in curve.cells(curve.read([path])):
        groups.setdefault(cell.key, []).append(cell)
    return _json(path, "evaluation.json") or {}, list(groups.values())


def _json(folder: Any, name: str) -> Any:
    if folder is None:
        return None
    file = Path(folder) / name
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); redo its stage with force=[...]") from None
