"""MLflow: a run for each job, on a tracking server or in a local database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from s1x.classes import module_of
from s1x.console import say_once
from s1x.errors import UserError, reason_of
from s1x.option import option, setting
from s1x.report.tracker import (
    Folders,
    Json,
    Tracker,
    curve_points,
    headline_numbers,
    settings_of,
    trace_rows,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@option("tracker", "mlflow")
@dataclass(frozen=True)
class MLflow(Tracker):
    """Logs a run with MLflow; a curve's step is its mean thinking tokens."""

    experiment: str = setting("s1x", "experiment of the runs")
    uri: str | None = setting(
        None, "tracking server or database; null: MLFLOW_TRACKING_URI, else MLflow's own default"
    )
    max_traces: int = setting(100, "traces in traces.json", at_least=0)

    @cached_property
    def _open(self) -> list[tuple[MlflowClient, str]]:
        """The client with the id of the open run, or nothing."""
        return []

    def start(self, context: Json) -> None:
        """Opens the run, tagged with its sweep.

        Raises:
            UserError: mlflow is not installed, or its server or store refuses.
        """
        mlflow = module_of("mlflow", "tracker=mlflow")
        try:
            client = mlflow.MlflowClient(tracking_uri=self.uri)
            found = client.get_experiment_by_name(self.experiment)
            place = found.experiment_id if found else client.create_experiment(self.experiment)
            told = {
                f"s1x.{key}": str(context[key]) for key in ("sweep", "scale") if context.get(key)
            }
            name = context.get("job") or context.get("name")
            run = client.create_run(place, run_name=None if name is None else str(name), tags=told)
            client.log_dict(run.info.run_id, settings_of(context), "settings.json")
        except mlflow.exceptions.MlflowException as error:
            raise UserError(
                f"tracker=mlflow cannot start ({reason_of(error)}); set tracker.uri to a tracking "
                "server, or pip install mlflow for a local database"
            ) from None
        self._open.append((client, run.info.run_id))

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Logs numbers as `<stage>/<name>`."""
        for client, run in self._open:
            try:
                for name, value in values.items():
                    client.log_metric(run, _key(f"{stage}/{name}"), value, step=step or 0)
            except module_of("mlflow", "tracker=mlflow").exceptions.MlflowException as error:
                say_once(f"tracker=mlflow lost numbers ({reason_of(error)})")  # a run is worth more

    def finish(self, summary: Json | None, folders: Folders, failed: bool) -> None:
        """Logs curves, metrics, summary and traces and closes the run, as failed if it is."""
        while self._open:
            client, run = self._open.pop()
            try:
                if summary is not None:
                    for name, value, tokens in curve_points(summary):
                        client.log_metric(run, _key(name), value, step=tokens)
                    for name, value in headline_numbers(summary).items():
                        client.log_metric(run, _key(name), value)
                    client.log_dict(run, dict(summary), "summary.json")
                    traces = list(trace_rows(folders, self.max_traces))
                    client.log_dict(run, {"traces": traces}, "traces.json")
                client.set_terminated(run, "FAILED" if failed else "FINISHED")
            except module_of("mlflow", "tracker=mlflow").exceptions.MlflowException as error:
                say_once(f"tracker=mlflow lost the end of the run ({reason_of(error)})")


def _key(name: str) -> str:
    """A name in the letters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)
