"""What Hydra, OmegaConf and the system say, in a line or two that name the remedy."""

from __future__ import annotations

import difflib
import errno
import re

from s1x.config import CONF, STAGES, conf_folders
from s1x.option import REGISTRY

HELP = """s1x: how accuracy grows with thinking tokens

  python run.py +experiment=s1k                   the whole recipe, laptop scale
  python run.py +experiment=s1k scale=h100x16     the paper's 32B run
  python run.py -m +experiment=s1k +sweep=thinking_budget
  python run.py +experiment=s1k stages=[plan]     what it would take; runs nothing
  python run.py +experiment=s1k selection=longest_1k seed=1 force=[train]

Stages: {stages}
Groups (group=option, several benchmarks as benchmark=[a,b]):
{groups}
Settings of an option: python run.py budget=early_exit --cfg job --package budget
Everything: python run.py +experiment=s1k --cfg job
"""


def options_of(group: str) -> list[str]:
    """The names of the YAML files of a group, those of installed extensions included."""
    return sorted({path.stem for conf in conf_folders() for path in (conf / group).glob("*.yaml")})


def groups() -> list[str]:
    """The folders of `conf/`."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def help_text() -> str:
    """The text of --help: commands, stages and every group with its options."""
    lines = "\n".join(f"  {group:11} {', '.join(options_of(group))}" for group in groups())
    return HELP.format(stages=", ".join(STAGES), groups=lines)


def explain(error: BaseException) -> str:
    """A line or two for the user: what is wrong, with which value, and what to do."""
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error)
    text = _innermost(error)
    for pattern, make in _PATTERNS:
        if match := re.search(pattern, text, re.DOTALL):
            return make(match)
    return "\n".join(line for line in text.splitlines() if line.strip())


def _innermost(error: BaseException) -> str:
    own = str(error)
    cause = error.__cause__
    return f"{own}\n{cause}" if cause is not None and str(cause) not in own else own


def _system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the device{where}; free some, or set output=<another disk>"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"may not write{where}: {error.strerror}; set output=<a folder that you may write>"
    return f"{error.strerror}{where}"


def _near(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names, 1, 0.4)
    return f"did you mean {found[0]}?" if found else f"choose one of {', '.join(names)}"


def _unknown_option(match: re.Match[str]) -> str:
    group, _, name = match[1].rpartition("/")
    return f"{group}={name} is not an option; {_near(name, options_of(group))}"


def _unknown_group(match: re.Match[str]) -> str:
    return f"{match[1]} is not a group or setting; {_near(match[1], groups())}"


def _unknown_key(match: re.Match[str]) -> str:
    key, cls = match["key"], match["cls"]
    group, _, name = key.rpartition(".")
    options = REGISTRY.get(group.split(".")[0], {}).values()
    names = sorted({f for c in options if c.__name__ == cls for f in c.__dataclass_fields__})
    if not group:
        names = _root_names()
    remedy = _near(name, names) if names else "see python run.py --cfg job"
    return f"{key} is not a setting here; {remedy}"


def _root_names() -> list[str]:
    fields = REGISTRY["root"]["root"].__dataclass_fields__
    return [*fields, *groups()]


def _wrong_type(match: re.Match[str]) -> str:
    kind = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
    return f"{match[3]} must be {kind.get(match[2], match[2])}, got {match[1]!r}"


_PATTERNS = (
    (r"In '[^']*': Could not find '([^']+)'", _unknown_option),
    (r"Could not find '([^']+/[^']+)'", _unknown_option),
    (
        r"Could not override '(?P<key>[\w.]+)'\.\s*\n?.*is not in struct"
        r"(?:.*object_type=(?P<cls>\w+))?",
        _unknown_key,
    ),
    (r"Could not override '([\w]+)'", _unknown_group),
    (
        r"Value '?(.*?)'? of type '\w+' could not be converted to (\w+).*?full_key: ([\w.\[\]]+)",
        _wrong_type,
    ),
    (r"Key '[^']+' not in '(?P<cls>\w+)'\s*full_key: (?P<key>[\w.]+)", _unknown_key),
)
