"""`stages=[store]`: shows the trace store, makes it smaller or checks it where `store` says so."""

from __future__ import annotations

from s1x.evaluate.check import check
from s1x.stages import Run, Stage
from s1x.traces.upkeep import describe, prune


class StoreStage(Stage):
    """Makes no artifact."""

    name = "store"

    @classmethod
    def execute(cls, run: Run) -> None:
        """Prints what is there, after what was removed."""
        settings, place = run.config.store, run.output / "traces"
        if settings.remove_models or settings.unused_days is not None or settings.merge:
            freed = prune(place, settings.remove_models, settings.unused_days, settings.merge)
            print(f"freed {freed / 2**20:.1f} MiB")
        for traces in describe(place):
            print("\n".join(traces.lines()))
        if settings.check:
            for line in check(place, run.config.engine, settings.check, run.config.root.seed):
                print(line)
