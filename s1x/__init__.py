"""s1x: how accuracy grows with thinking tokens (test-time scaling, after arXiv 2501.19393).

The command line is `python run.py`; a notebook uses the names below (docs/library.md):

    import s1x
    model = s1x.load("puzzle_base")
    print(model.ask(question, "budget_forcing", num_waits=1))        # forced tokens are marked
    rows = model.evaluate(questions, curve={"max_thinking_tokens": [16, 64, None]})
    s1x.plot(s1x.curves(rows))

They are imported when they are used, so that `import s1x` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s1x.curve import Curve, Estimate, Point, curves, difference
    from s1x.curve import read as read_rows
    from s1x.errors import UserError
    from s1x.library import LoadedModel, ReadTrace, load, plot

__version__ = "0.1.0"

__all__ = [
    "Curve",
    "Estimate",
    "LoadedModel",
    "Point",
    "ReadTrace",
    "UserError",
    "curves",
    "difference",
    "load",
    "plot",
    "read_rows",
]

#: name → (module, name there)
_PLACES = {
    **{name: ("s1x.library", name) for name in ("LoadedModel", "ReadTrace", "load", "plot")},
    **{name: ("s1x.curve", name) for name in ("Curve", "Estimate", "Point")},
    **{name: ("s1x.curve", name) for name in ("curves", "difference")},
    "UserError": ("s1x.errors", "UserError"),
    "read_rows": ("s1x.curve", "read"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"s1x has no {name}; it has {', '.join(__all__)}")
    module, attribute = _PLACES[name]
    found: object = vars(importlib.import_module(module))[attribute]
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
