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
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s1x.curve import Curve, Estimate, Point, curves, difference
    from s1x.curve import read as read_rows
    from s1x.errors import UserError
    from s1x.library import LoadedModel, ReadTrace, load, plot

__version__ = "0.1.0"

# torch.cuda.is_available() must not start CUDA in a process that vLLM may fork: NVML answers too
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

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

#: module → the names that are taken from it
_PLACES = {
    "s1x.library": ("LoadedModel", "ReadTrace", "load", "plot"),
    "s1x.curve": ("Curve", "Estimate", "Point", "curves", "difference", "read_rows"),
    "s1x.errors": ("UserError",),
}


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names:
            there = vars(importlib.import_module(module))
            globals()[name] = there["read" if name == "read_rows" else name]
            return globals()[name]
    raise AttributeError(f"s1x has no {name}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
