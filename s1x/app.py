"""The front end: composes the configuration, runs the stages, says what went wrong in a line.

Exit status: 0 done, 1 a fault of ours (with its trace), a process that died or a failed job of a
sweep, 2 the user's mistake (a line or two, no trace), 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import glob
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.compose import CONF, register
from s1x.config import load
from s1x.console import say
from s1x.errors import RunError, UserError
from s1x.info import info
from s1x.messages import explain, help_text
from s1x.stages import Run

#: libraries whose bars and warnings would stand between ours; threads that wait without spinning
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}
#: what Hydra's own --info knows
HYDRA_INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
#: in the folder of a sweep's job that has not ended well
FAILED_FILE = "failed.txt"
#: strings that Hydra would read as something else
_WORDS = {"true", "false", "null", "nan", "inf"}
#: set by the sweep's callback, which runs inside Hydra's own call
_sweep_status = 0
#: the sweep that runs now
_sweep: DictConfig | None = None
#: a single run's failure: Hydra would print a line of its own before handing it on
_failures: list[Exception] = []


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: ends the run in the same orderly way."""


def _terminate(*_: object) -> None:
    raise _Terminated


def main() -> int:
    """Runs the command line in `sys.argv`; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without our dashes ends no run
        sys.stdout.reconfigure(errors="replace")
    if {"--help", "-h"} & set(sys.argv[1:]):  # Hydra composes all groups first: five seconds
        print(help_text())
        return 0
    if "--version" in sys.argv[1:]:
        print(f"s1x {version('s1x')}")
        return 0
    if (
        "--info" in sys.argv[1:-1]
        and (name := sys.argv[sys.argv.index("--info") + 1]) not in HYDRA_INFO
    ):
        return _print_info(name)
    # no default names an experiment or a sweep, so Hydra wants a plus; nothing else can be meant
    sys.argv[1:] = [f"+{a}" if a.startswith(("experiment=", "sweep=")) else a for a in sys.argv[1:]]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _terminate)
    wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, so that they are told here
    try:
        register()
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()
        if _failures:
            raise _failures.pop()
    except KeyboardInterrupt as stop:
        say("Stopped. The same command goes on where this one was.")
        return 143 if isinstance(stop, _Terminated) else 130
    except Exception as error:
        status = _status(error)
        if status is None and _sweep is None:
            raise
        if status is None or wants_trace:
            traceback.print_exc()
        if status is None:  # a launcher gives up where a job is killed; the others count
            assert _sweep is not None
            return max(1, _report_sweep(_sweep))
        say("Error: " + explain(error))
        return status
    return _sweep_status


def _print_info(name: str) -> int:
    """`--info budget.early_exit`: the option's settings, from its declaration."""
    try:
        print(info(name).text())
    except UserError as error:
        say(f"Error: {error}")
        return 2
    return 0


def _status(error: Exception) -> int | None:
    """The exit status of a failure that a line can tell; None: a fault of ours."""
    if isinstance(error, RunError):
        return 1
    told = isinstance(error, (UserError, HydraException, OmegaConfBaseException))
    if isinstance(error, OSError) and not told:
        return None if error.errno is None else 2
    # Hydra's own word on budget=42 is a plain ValueError
    return 2 if told or str(error).startswith("Config group override") else None


def register_resolvers() -> None:
    """What YAML may compute: folders of runs, sweeps' choices, a policy's training format."""
    new = OmegaConf.register_new_resolver
    new("s1x_new_folder", _new_folder, replace=True, use_cache=True)
    new("s1x_join", _choices, replace=True)
    new("s1x_train_format", _train_format, replace=True)


def _new_folder(output: str, kind: str, name: str) -> str:
    """A folder of its own for this run, made now: runs of one second never share one."""
    if not str(output or "").strip():
        raise UserError("output has no value; set output=<a folder>")
    parent = Path(output) / kind
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", str(name)).strip("-")[:40] or "run"
    while True:
        folder = parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{plain}_{token_hex(2)}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not parent.is_dir():
                raise UserError(f"output={output}: {parent} is no folder; set another") from None
            continue
        except OSError as error:
            raise UserError(f"output={output}: {explain(error)}") from None
        return str(folder)


def _choices(values: Iterable[object]) -> str:
    return ",".join(map(_element, values))


def _element(value: object) -> str:
    """A value in the grammar of Hydra's overrides, read there as the same value."""
    if value is None:
        return "null"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_element, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_element(v)}" for k, v in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) and value.lower() not in _WORDS:
        return value
    return str(QuotedString(value, Quote.single).with_quotes())


def _train_format(target: str) -> str:
    policy = hydra.utils.get_class(target)
    return str(getattr(policy, "train_format", "plain"))  # a user's class may be no Policy


register_resolvers()  # at import: a job that a launcher starts elsewhere imports this module only


def _job(cfg: DictConfig) -> None:
    """One run, or one job of a sweep; a sweep's other jobs go on when one fails."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    multirun = hydra_cfg.mode is not None and hydra_cfg.mode.name == "MULTIRUN"
    overrides = list(hydra_cfg.overrides.task)
    failed = folder / FAILED_FILE
    try:
        if multirun:
            failed.write_text("it never ended: killed, or out of time\n", encoding="utf-8")
            sweep = Path(hydra_cfg.sweep.dir).name
            Run(load(cfg), cfg, folder, overrides, hydra_cfg.job.override_dirname, sweep).execute()
            failed.unlink()
        else:
            Run(load(cfg), cfg, folder, overrides).execute()
    except Exception as error:
        if not multirun:
            _failures.append(error)
            return
        if not isinstance(error, (UserError, RunError, HydraException, OmegaConfBaseException)):
            traceback.print_exc()
        failed.write_text(explain(error) + "\n", encoding="utf-8")
        say(f"Job {hydra_cfg.job.num} failed: {explain(error)}")


class SweepReport(Callback):
    """When the last job of a sweep has ended: one report over all of them."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Remembers the sweep, for a launcher that raises instead of ending it."""
        global _sweep
        _sweep = config

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Writes the report; a failed job is named and sets the exit status to 1."""
        global _sweep, _sweep_status
        _sweep, _sweep_status = None, _report_sweep(config)


def _report_sweep(config: DictConfig) -> int:
    """The report over a sweep's jobs, once all have ended, and the exit status: 1 if one failed.

    Hydra would turn what is raised into a warning.
    """
    from s1x.report.runs import RUN_FILE, natural, report_on

    folder = Path(config.hydra.sweep.dir)
    failed = sorted(folder.glob(f"*/{FAILED_FILE}"), key=lambda path: natural(path.parent))
    for path in failed:
        say(f"Job {path.parent.name} failed: {path.read_text(encoding='utf-8').strip()}")
    try:
        if list(folder.glob(f"*/{RUN_FILE}")):
            pattern = str(Path(glob.escape(str(folder))) / "*")
            report_on([pattern], Path(config.output), config.report.title, config.force, own=True)
    except UserError as error:
        say("Error: " + explain(error))
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    if failed:
        say(f"{len(failed)} of the sweep's jobs failed; the same command runs only what is missing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
