"""The front end: composes the configuration, runs the stages, says what went wrong in a line.

Exit status: 0 done, 1 a fault of ours (with its trace), a process that died or a failed job of a
sweep, 2 the user's mistake (a line or two, no trace), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.config import CONF
from s1x.console import say
from s1x.errors import RunError, UserError
from s1x.messages import explain, help_text
from s1x.schema import register

#: libraries whose bars and warnings would stand between ours; threads that wait without spinning
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}
#: set by the sweep's callback, which runs inside Hydra's own call
_sweep_status = 0
#: the sweep that runs now
_sweep: DictConfig | None = None
#: a single run's failure: Hydra would print a line of its own before handing it on
_failures: list[Exception] = []


def main() -> int:
    """Runs the command line in `sys.argv`; returns the exit status."""
    if {"--help", "-h"} & set(sys.argv[1:]):  # Hydra composes all groups first: five seconds
        print(help_text())
        return 0
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, so that they are told here
    try:
        register()
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()
        if _failures:
            raise _failures.pop()
    except KeyboardInterrupt:
        say("Stopped. The same command goes on where this one was.")
        return 130
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_trace:
            traceback.print_exc()
        say("Error: " + explain(error))
        return 2
    except RunError as error:
        if wants_trace:
            traceback.print_exc()
        say(f"Error: {error}")
        return 1
    except OSError as error:
        if wants_trace or error.errno is None:
            traceback.print_exc()
            return 1
        say("Error: " + explain(error))
        return 2
    except Exception:
        if _sweep is None:
            raise
        traceback.print_exc()  # a launcher gives up where a job is killed; the others count
        _report_sweep(_sweep)
        return 1
    return _sweep_status


def register_resolvers() -> None:
    """What YAML may compute: lists written as a sweep's choices, a policy's training format."""
    OmegaConf.register_new_resolver("s1x_join", _choices, replace=True)
    OmegaConf.register_new_resolver("s1x_train_format", _train_format, replace=True)


def _choices(values: Any) -> str:
    quoted = (f"'{v}'" if isinstance(v, str) and not v.isidentifier() else v for v in values)
    return ",".join("null" if v is None else str(v) for v in quoted)


def _train_format(target: str) -> str:
    policy: Any = hydra.utils.get_class(target)
    return str(getattr(policy, "train_format", "plain"))  # a user's class may be no Policy


register_resolvers()  # at import: a job that a launcher starts elsewhere imports this module only


def _job(cfg: DictConfig) -> None:
    """One run, or one job of a sweep; a sweep's other jobs go on when one fails."""
    from s1x.run import run

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    multirun = hydra_cfg.mode is not None and hydra_cfg.mode.name == "MULTIRUN"
    overrides = list(hydra_cfg.overrides.task)
    failed = folder / "failed.txt"
    try:
        if multirun:
            failed.write_text("it never ended: killed, or out of time\n")
            sweep = Path(hydra_cfg.sweep.dir).name
            run(cfg, folder, overrides, hydra_cfg.job.override_dirname, sweep)
            failed.unlink()
        else:
            run(cfg, folder, overrides)
    except Exception as error:
        if not multirun:
            _failures.append(error)
            return
        if not isinstance(error, (UserError, RunError, HydraException, OmegaConfBaseException)):
            traceback.print_exc()
        failed.write_text(explain(error) + "\n")
        say(f"Job {hydra_cfg.job.num} failed: {explain(error)}")


class SweepReport(Callback):
    """When the last job of a sweep has ended: one report over all of them."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remembers the sweep, for a launcher that raises instead of ending it."""
        global _sweep
        _sweep = config

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Writes the report; a failed job is named and sets the exit status to 1."""
        global _sweep, _sweep_status
        _sweep, _sweep_status = None, _report_sweep(config)


def _report_sweep(config: DictConfig) -> int:
    """The sweep's report and its exit status; Hydra would turn what is raised into a warning."""
    from s1x.sweep import report_sweep

    try:
        return report_sweep(config, Path(config.hydra.sweep.dir))
    except UserError as error:
        say("Error: " + explain(error))
    except Exception:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    sys.exit(main())
