"""What Hydra, OmegaConf and the system say, in a line or two that name the remedy."""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Callable
from dataclasses import fields

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import MissingConfigException, OverrideParseException

from s1x.classes import nearest
from s1x.compose import CONF, conf_folders
from s1x.config import PARTS, Root
from s1x.option import Option
from s1x.stages import STAGES

HELP = """s1x: how accuracy grows with thinking tokens

  python run.py +experiment=s1k                   the whole recipe, laptop scale
  python run.py +experiment=s1k scale=h100x16     the paper's 32B run
  python run.py -m +experiment=s1k +sweep=thinking_budget
  python run.py +experiment=s1k stages=[plan]     what it would take; runs nothing
  python run.py +experiment=s1k selection=longest_1k seed=1 force=[train]

Stages: {stages}
Groups (group=option, several benchmarks as benchmark=[a,b]):
{groups}
Settings of an option, with units and limits: python run.py --info budget.early_exit
Everything: python run.py +experiment=s1k --cfg job
"""

#: Hydra's launchers that are packages of their own → the extra that brings each
EXTRAS = {
    "joblib": "joblib",
    "ray": "ray-launcher",
    "ray_aws": "ray-launcher",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}
#: group → how a path is given to it
PATHS = {
    "model": "model=own model.path={}",
    "pool": "pool=jsonl pool.path={}",
    "benchmark": "benchmark=jsonl benchmark.path={}",
    "import": "import=rows import.path={} (or lm_eval, inspect)",
}
TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def options_of(group: str) -> list[str]:
    """The names of the YAML files of a group, those of installed extensions included."""
    return sorted({path.stem for conf in conf_folders() for path in (conf / group).glob("*.yaml")})


def groups() -> list[str]:
    """The folders of `conf/` but Hydra's own."""
    return sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra")


def help_text() -> str:
    """The text of --help: commands, stages and every group with its options."""
    lines = "\n".join(f"  {group:11} {', '.join(options_of(group))}" for group in groups())
    return HELP.format(stages=", ".join(STAGES), groups=lines)


def explain(error: BaseException) -> str:
    """A line or two for the user: what is wrong, with which value, and what to do."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error.missing_cfg_file, list(error.options or []))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error)
    own, cause = str(error), str(error.__cause__ or "")
    text = own if cause in own else f"{own}\n{cause}"
    for pattern, said in _PATTERNS.items():
        if match := re.search(pattern, text, re.DOTALL):
            return said.format(match[0], *match.groups()) if isinstance(said, str) else said(match)
    return "\n".join(line for line in text.splitlines() if line.strip())


def _system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the device{where}; free some, or set output=<another disk>"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"may not write{where}: {error.strerror}; set output=<a folder that you may write>"
    if error.errno == errno.ENOTDIR:
        return f"a file stands where a folder must be{where}; set output=<a folder>"
    return f"{error.strerror}{where}"


def _hint(name: str, names: list[str]) -> str:
    return nearest(name, names, f"choose one of {', '.join(names)}" if names else "it has none")


def _unknown_option(path: str, options: list[str]) -> str:
    group = max((g for g in groups() if path.startswith(f"{g}/")), key=len, default="")
    group = group or path.rpartition("/")[0]
    name = path[len(group) + 1 :]
    if group == "hydra/launcher" and name in EXTRAS:
        extra = EXTRAS[name]
        return f"{group}={name} needs a package that is missing: pip install 's1x[{extra}]'"
    if group in PATHS and ("/" in name or "." in name):
        way = PATHS[group].format(name)
        return f"{group}={name} is not an option; a path is given as {way}"
    return f"{group}={name} is not an option; {_hint(name, options or options_of(group))}"


def _unreadable(override: str) -> str:
    key, _, value = override.partition("=")
    if not re.fullmatch(r"[+~]{0,2}[\w./@:-]+", key):
        return f"{override} is no setting; give <setting>=<value>"
    if not value:
        return f"{override} has no value; give {key}=<value>"
    if value[0] in "[{" and value[-1] not in "]}":
        return f"{override} cannot be read: the bracket of {value} is not closed"
    quoted = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"{override} cannot be read; quote the value for the shell and for Hydra: {quoted}"


def _unknown_key(match: re.Match[str]) -> str:
    key, cls = match["key"], match["cls"]
    place, _, name = key.rpartition(".")
    if not place:
        names = [*(f.name for f in fields(Root)), *groups(), *PARTS]
        if key in names:
            return f"{key} may not be removed; set {key}=... instead"
        return f"{key} is not a group or setting; {_hint(name, names)}"
    if place == "benchmark" and name in options_of("benchmark"):
        return (
            "benchmark=jsonl stands alone; to evaluate questions of your own beside other "
            "benchmarks, give them a YAML of their own (README, Add your own)"
        )
    found = [sub for sub in _subclasses(Option) if sub.__name__ == cls]
    for sub in found:
        if name in sub.renamed:
            return f"{key} is now called {place}.{sub.renamed[name]}"
    names = sorted({f.name for sub in found for f in fields(sub) if f.name != "_target_"})
    return f"{key} is not a setting of {cls}; {_hint(name, names)}"


def _subclasses(cls: type[Option]) -> list[type[Option]]:
    return [s for sub in cls.__subclasses__() for s in (sub, *_subclasses(sub))]


def _named_twice(match: re.Match[str]) -> str:
    group, _, name = match[1].rpartition("@")[2].rpartition(".")
    return f"{group or 'the configuration'} names {name} more than once; name it once"


def _no_match(match: re.Match[str]) -> str:
    return f"{match[1]} is not a group or setting; {_hint(match[1], groups())}"


#: what a message looks like → what is said instead, with the pattern's groups put in
_PATTERNS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"Ambiguous value for argument '([^=]+)=(.*?)'\n": (
        "{1}={2} gives several values; a list is written {1}=[{2}], and -m runs one job for each "
        "value"
    ),
    r"Error merging override ([^=]+)=(.*?)\nInvalid value assigned: \w+ is not a ListConfig": (
        "{1} must be a list, got {2}; write {1}=[{2}]"
    ),
    r"(\S+) appears more than once in the final defaults list": _named_twice,
    r"Multiple values for ([\w/]+)\.": "{1} is given more than once; give it once",
    r"Value '?(.*?)'? of type '\w+' could not be converted to (\w+).*?full_key: (\S+)": (
        lambda m: f"{m[3]} must be {TYPES.get(m[2], m[2])}, got {m[1]!r}"
    ),
    r"is not a subclass of \w+\. value: (.*?)\s+full_key: (\S+)": (
        "{2} holds settings of its own, got {1!r}; give {2}={{<setting>: <value>}}"
    ),
    r"Value '?(.*?)'? is not a valid bool.*?full_key: (\S+)": (
        "{2} must be true or false, got {1!r}"
    ),
    r"Key '[^']+' not in '(?P<cls>\w+)'\s*full_key: (?P<key>\S+)": _unknown_key,
    r"is not in struct\s*full_key: (?P<key>\S+)(?:\s*object_type=(?P<cls>\w+))?": _unknown_key,
    r"Could not override '([\w/]+)'": _no_match,
    r"Interpolation key '([^']+)' not found\s*full_key: (\S+)": (
        "{2} refers to {1}, which is no setting"
    ),
    r"UserError raised while resolving interpolation: (.*?)\s+full_key: ": "{1}",
    r"Config group override must be a string or a list. Got (\w+)": (
        lambda m: f"a group must name one of its options ({', '.join(groups())}), got {m[1]}"
    ),
}
