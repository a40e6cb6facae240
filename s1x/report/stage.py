"""`stages=[report]`: the report over this run's artifacts, or over other runs (`report.runs`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s1x.artifact import Artifact, read_json
from s1x.errors import UserError
from s1x.report import run as run_report
from s1x.report.runs import VERSION, finish_report, report_on
from s1x.stages import ArtifactStage, Run


class ReportStage(ArtifactStage):
    """One run's report and summary; `latest` points to it."""

    name = "report"
    version = VERSION

    @classmethod
    def check(cls, run: Run) -> None:
        """`report.runs` stands alone: nothing of this run would be in that report."""
        if run.config.report.patterns() and run.config.imported.asked_for:
            raise UserError("report.runs reports on other runs and nothing else; set import=none")
        if run.config.report.patterns() and run.stages != ["report"]:
            raise UserError(
                "report.runs reports on other runs and nothing else; "
                f"set stages=[report], got [{','.join(run.stages)}]"
            )

    @classmethod
    def execute(cls, run: Run) -> None:
        """This run's report, or the one over `report.runs`."""
        settings = run.config.report
        if patterns := settings.patterns():
            run.summary = report_on(patterns, run.output, settings.title, run.config.root.force)
        else:
            super().execute(run)

    @classmethod
    def of(cls, run: Run) -> Iterator[ArtifactStage]:
        """This run's report, over what it or an earlier one with its settings made."""
        run.evaluations()
        if _is_own(run) and "fine_tuned" in run.config.evaluate.models and "pool" not in run.made:
            pool = run.maybe("pool")
            run.made["pool"] = [pool] if pool else []
        yield cls(run)

    def _used(self) -> list[Artifact]:
        before = [a for name in ("select", "train") for a in self.run.made.get(name, [])]
        return [*self.run.evaluations(), *before]

    def inputs(self) -> dict[str, Any]:
        """The artifacts, and what the page says of the run."""
        context = self.run.context()
        told = {key: context[key] for key in ("name", "title", "scale", "seed", "config")}
        return {"artifacts": [a.folder.name for a in self._used()], "context": told}

    def build(self, folder: Path) -> None:
        """Writes page, figures, tables and summary."""
        made, context = self.run.made, self.run.context()
        evaluations = [artifact.folder for artifact in self.run.evaluations()]
        selection, training = (
            made[name][0].folder if made.get(name) else None for name in ("select", "train")
        )
        if made.get("import"):
            context["runs"] = _runs(self.run, selection, training)
            context |= {} if _is_own(self.run) else {"scale": None, "seed": None}
        run_report(context, evaluations, selection, training, folder)

    def finish(self, artifact: Artifact) -> None:
        """The table on the console; the summary says what this run did."""
        run = self.run
        run.summary = finish_report(run.artifacts, artifact, run.told, bool(run.sweep))


def _is_own(run: Run) -> bool:
    """Whether the run's own model is in the report, beside what is imported."""
    return not run.config.imported.asked_for or "evaluate" in run.stages


def _runs(run: Run, selection: Path | None, training: Path | None) -> list[dict[str, Any]]:
    """The run's own evaluations, then the imported ones, a run per model: they are compared."""
    own = [artifact.folder for artifact in run.made.get("evaluate", [])]
    groups: dict[str, list[Path]] = {}
    for artifact in run.made["import"]:
        model = str(read_json(artifact.folder / "evaluation.json")["model"])
        groups.setdefault(model, []).append(artifact.folder)
    nothing: dict[str, Any] = {"selection": None, "training": None, "settings": {}}
    found = [{**nothing, "label": name, "evaluations": made} for name, made in groups.items()]
    first = {"label": run.config.root.name, "evaluations": own, "settings": {}}
    return [{**first, "selection": selection, "training": training}, *found] if own else found
