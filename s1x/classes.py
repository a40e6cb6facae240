"""Classes by dotted path, "did you mean", and a hash of code that is not s1x's own.

What a user's own policy, grader, step or tracker does is part of every result made with it, so its
source belongs into the fingerprint: edited code is never answered from an artifact of before.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from s1x.errors import UserError

_OURS = Path(__file__).resolve().parent
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_INSTALLED = {"site-packages", "dist-packages"}


def nearest(name: object, names: Iterable[object], otherwise: str = "") -> str:
    """ "did you mean ...?" with the name that is most like it, else `otherwise`."""
    found = difflib.get_close_matches(str(name), [str(n) for n in names], 1, 0.6)
    return f"did you mean {found[0]}?" if found else otherwise


def module_of(name: str, key: str, package: str = "") -> ModuleType:
    """A module of an optional package.

    Args:
        name: of the module.
        key: the setting that needs it, for the error.
        package: that it comes with, where its name is another.

    Raises:
        UserError: it is not installed.
    """
    package = package or name.split(".")[0].replace("_", "-")
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{key} needs the package {package}, which is not installed; pip install {package}"
        ) from None


def load_named(path: str, key: str) -> object:
    """What stands at a dotted path.

    Args:
        path: "package.module.name".
        key: the setting that names it, for the error.

    Raises:
        UserError: nothing can be imported there.
    """
    module, _, name = path.rpartition(".")
    try:
        return vars(importlib.import_module(module))[name]
    except (ImportError, KeyError, ValueError, SyntaxError) as error:
        reason = f"{module} has no {name}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{key} {path} cannot be imported ({reason}); "
            "check the name and that its package is installed"
        ) from None


def load_class(path: str, key: str) -> type:
    """The class at a dotted path.

    Raises:
        UserError: nothing can be imported there, or it is no class.
    """
    found = load_named(path, key)
    if not isinstance(found, type):
        raise UserError(f"{key} {path} must be a class, got a {type(found).__name__}")
    return found


def source_hash(cls: type) -> str | None:
    """A hash of the code of a class that is not of s1x; None for a class of s1x.

    It covers the modules of the class and its bases, and whatever those import that is no
    installed package. Files that the code reads are not seen.
    """
    modules = [sys.modules[c.__module__] for c in cls.__mro__ if c.__module__ in sys.modules]
    pending = [module for module in modules if _foreign(module)]
    if sys.modules.get(cls.__module__) not in pending:
        return None
    digests: dict[Path, str] = {}
    while pending:
        module = pending.pop()
        file = _file(module)
        if file is None or file in digests:
            continue
        digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        if not _installed(module):
            pending += [m for m in _imported(module) if _foreign(m) and not _installed(m)]
    return hashlib.sha256("".join(sorted(digests.values())).encode()).hexdigest()[:12]


def _file(module: ModuleType) -> Path | None:
    name = vars(module).get("__file__")
    return Path(name).resolve() if name and Path(name).is_file() else None


def _installed(module: ModuleType) -> bool:
    file = _file(module)
    return file is None or bool(_INSTALLED.intersection(file.parts))


def _foreign(module: ModuleType) -> bool:
    """Not of s1x and not of Python itself."""
    file = _file(module)
    if file is None or file.is_relative_to(_OURS):
        return False
    return not file.is_relative_to(_STANDARD) or _installed(module)


def _imported(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that a module's names come from."""
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            yield value
        elif isinstance(name := getattr(value, "__module__", None), str) and name in sys.modules:
            yield sys.modules[name]
