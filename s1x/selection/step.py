"""What a selection step is: a function of the rows that are left, to those it drops and why.

    @dataclass(frozen=True)
    class Shouting(Step):
        '''Drops questions that shout.'''

        mark: str = setting("!", "what shouting ends in")

        def __call__(self, rows: Rows) -> Drops:
            return rows.drop({"shouts": pl.col("question").str.ends_with(self.mark)})

and in a recipe: `steps: [{step: my_package.Shouting, mark: "!!"}]`. All randomness comes from
`rows.random()`, so the same seed and pool give the same rows everywhere.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from s1x.benchmark.problem import Problem
from s1x.errors import UserError
from s1x.model.model import Model
from s1x.option import Option
from s1x.selection.table import PoolTable

TokenCounter = Callable[[list[str]], list[int]]
#: columns of the rows dropped; detail: what exactly was found there, or null
DROPPED = {"row": pl.UInt32, "reason": pl.String, "detail": pl.String}


@dataclass(frozen=True)
class Context:
    """What a step may know besides its rows; `notes` are sentences for the dataset card."""

    seed: int
    size: int | None
    """`selection.size`: rows to choose; None keeps all that are left."""
    benchmarks: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    tokenizer_source: Model | TokenCounter | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Writes down what a step had to decide, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass
class Drops:
    """The rows that a step drops (`DROPPED`), and what else the funnel should say of it."""

    frame: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DROPPED))
    report: dict[str, object] = field(default_factory=dict)


class Rows:
    """The rows that are left: what a step reads."""

    def __init__(self, table: PoolTable, numbers: pl.Series, context: Context, step: str) -> None:
        self.table, self.numbers, self.context, self.step = table, numbers, context, step

    def __len__(self) -> int:
        return len(self.numbers)

    def has(self, *columns: str) -> bool:
        """Whether the pool has columns of these names."""
        return set(columns) <= set(self.table.names)

    def among(self, numbers: pl.Series) -> Rows:
        """Other rows of the same pool."""
        return Rows(self.table, numbers, self.context, self.step)

    def everything(self) -> Rows:
        """All rows of the pool, whatever earlier steps dropped."""
        return self.among(pl.int_range(self.table.num_rows, dtype=pl.UInt32, eager=True))

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """`row` and small columns, whole, in the pool's order."""
        return self.table.lazy(columns, self.numbers).collect(engine="streaming").sort("row")

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """`row` and texts, some 2,000 rows at a time, in the pool's order."""
        return self.table.batches(columns, self.numbers)

    def random(self) -> random.Random:
        """The step's own generator: seeded by the run's seed and the step's place and name."""
        return random.Random(f"s1x selection {self.context.seed} {self.step}")

    def drop(self, reasons: Mapping[str, pl.Expr], frame: pl.DataFrame | None = None) -> Drops:
        """Drops rows for which an expression is true; the first reason stays.

        Args:
            reasons: {reason: expression over the pool's columns}.
            frame: what to judge by instead of the pool's columns; has a column `row`.
        """
        if not reasons:
            return Drops()
        used = (name for expression in reasons.values() for name in expression.meta.root_names())
        read = self.table.lazy(list(dict.fromkeys(used)), self.numbers) if frame is None else frame
        whens = [pl.when(e).then(pl.lit(reason)) for reason, e in reasons.items()]
        found = read.lazy().select("row", reason=pl.coalesce(whens), detail=pl.lit(None, pl.String))
        dropped = found.filter(pl.col("reason").is_not_null()).collect(engine="streaming")
        return Drops(dropped.sort("row"))

    def drop_rows(self, numbers: Iterable[int] | Mapping[int, str], reason: str) -> Drops:
        """Drops these rows; a mapping says what was found at each."""
        row = pl.Series(list(numbers), dtype=pl.UInt32)
        detail = list(numbers.values()) if isinstance(numbers, Mapping) else None
        frame = pl.DataFrame({"row": row, "reason": reason, "detail": detail}, DROPPED)
        return Drops(frame.sort("row"))

    def keep_rows(self, numbers: Iterable[int], reason: str) -> Drops:
        """Drops all other rows."""
        kept = pl.Series(list(numbers), dtype=pl.UInt32)
        return self.drop_rows(self.numbers.filter(~self.numbers.is_in(kept.implode())), reason)


@dataclass(frozen=True)
class Step(Option, ABC):
    """Base of every step: a callable option; one that `chooses` leaves the size wanted."""

    chooses: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, rows: Rows) -> Drops:
        """Which rows to drop, and why."""


def wanted_size(own: int | None, rows: Rows, left: int | None = None) -> int:
    """How many rows a choosing step is to leave: its own `size`, else `selection.size`, else all.

    Args:
        left: rows that can be drawn; None: all of `rows`.

    Raises:
        UserError: more than there are; names the numbers and the remedy.
    """
    size = own if own is not None else rows.context.size
    left = len(rows) if left is None else left
    if size is not None and size > left:
        raise UserError(
            f"selection.size must be {left} or less, got {size}: of the pool's "
            f"{rows.table.num_rows} rows {left} are left before the draw; set "
            f"selection.size={max(left, 1)}, use a bigger pool, or loosen the recipe's steps"
        )
    return left if size is None else size
