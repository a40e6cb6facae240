"""What every part of the kit writes: figures with units, and what was skipped or failed and why."""

from __future__ import annotations

import argparse
import gc
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict


class Content(TypedDict):
    """What a part's file holds; `figures` have name, value, unit and notes of their own."""

    figures: list[dict[str, object]]
    skipped: list[dict[str, str]]
    failed: list[dict[str, str]]


class Figures:
    """A part's file, written anew with every figure: what is cut off leaves those before it.

    Args:
        path: the JSON file.
        seconds: of the part; what would begin when fewer are left than it needs is skipped.
        only: words, one of which a measurement's name must contain; empty: all are made.
    """

    def __init__(self, path: Path, seconds: float, only: list[str]) -> None:
        self.path, self.only = path, only
        self.end = time.monotonic() + seconds
        self.content: Content = {"figures": [], "skipped": [], "failed": []}

    def add(self, name: str, value: float | str | bool, unit: str, **notes: object) -> None:
        """One figure."""
        value = round(value, 4) if isinstance(value, float) else value
        self.content["figures"].append({"name": name, "value": value, "unit": unit, **notes})
        self._write()
        print(f"{name}: {value} {unit} {notes or ''}".rstrip(), flush=True)

    def skip(self, name: str, why: str) -> None:
        """What was not measured, and why."""
        self.content["skipped"].append({"name": name, "why": why})
        self._write()
        print(f"{name}: skipped: {why}", flush=True)

    def attempt(self, name: str, work: Callable[[], None], needs_seconds: float = 0.0) -> None:
        """Does the work; an error costs this measurement alone, and is written down."""
        if self.only and not any(word in name for word in self.only):
            self.skip(name, "not asked for (--only)")
            return
        if (left := self.end - time.monotonic()) < needs_seconds:
            self.skip(name, f"{left:.0f} s left of this part, {needs_seconds:.0f} s needed")
            return
        try:
            work()
        except Exception as error:
            traceback.print_exc()
            why = " ".join(f"{type(error).__name__}: {error}".split())[:600]
            self.content["failed"].append({"name": name, "why": why})
            self._write()
        free_memory()

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1), encoding="utf-8")
        partial.replace(self.path)


def free_memory() -> None:
    """Gives back what the measurement before held, and begins a new peak."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def part_arguments(description: str) -> argparse.ArgumentParser:
    """The options of a part that runs by itself."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("part.json"), help="the JSON file")
    parser.add_argument("--seconds", type=float, default=180.0, help="time of the part")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the CPU")
    parser.add_argument("--only", default="", help="words of measurements' names, by commas")
    return parser


def figures_of(options: argparse.Namespace) -> Figures:
    """The file that the options name."""
    only = [word for word in options.only.split(",") if word]
    return Figures(options.out, options.seconds, only)
