"""What a selection step is: a pure function from rows to the rows it drops, each with a reason.

    @option("selection_step", "my_step")
    @dataclass(frozen=True)
    class MyStep(Step):
        '''Drops questions that shout.'''

        mark: str = setting("!", "what shouting ends in")

        def __call__(self, rows: Rows) -> Drops:
            drops = Drops(len(rows))
            for at, batch in rows.scan(["question"]):
                drops.mark(at, pc.ends_with(batch.column("question"), self.mark), "shouts")
            return drops

and in a recipe: `steps: [{step: my_step, mark: "!!"}]`. Steps see the rows that earlier steps left;
all randomness comes from `rows.random()`, so the same seed and pool give the same rows everywhere.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.errors import UserError
from s1x.option import Option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from s1x.benchmark.problem import Problem
    from s1x.model.model import Model
    from s1x.selection.table import Numbers, PoolTable

TokenCounter = Callable[[list[str]], list[int]]


@dataclass(frozen=True)
class Context:
    """What a step may know besides its rows."""

    seed: int
    size: int | None
    """`selection.size`: rows to choose; None keeps all that are left."""
    benchmarks: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    tokenizer_source: str | Model | TokenCounter | None = None
    notes: list[str] = field(default_factory=list)
    """Sentences for the dataset card: what a step had to decide."""

    def note(self, text: str) -> None:
        """Writes down a decision, once."""
        if text not in self.notes:
            self.notes.append(text)


class Rows:
    """The rows that are left: what a step reads."""

    def __init__(self, table: PoolTable, numbers: Numbers, context: Context, step: str) -> None:
        self.table, self.numbers, self.context, self._step = table, numbers, context, step

    def __len__(self) -> int:
        return len(self.numbers)

    def has(self, column: str) -> bool:
        """Whether the pool has a column of this name."""
        return column in self.table.names

    def column(self, name: str) -> pa.Array:
        """A small column of these rows, whole; texts come dictionary-encoded."""
        import pyarrow as pa

        return self.table.column(name).take(pa.array(self.numbers))

    def scan(self, columns: Sequence[str]) -> Iterator[tuple[Numbers, pa.RecordBatch]]:
        """Streams columns: (places among these rows, batch) pairs."""
        import numpy as np

        for numbers, batch in self.table.scan(columns, self.numbers):
            yield np.searchsorted(self.numbers, numbers), batch

    def trace_tokens(self) -> Numbers:
        """Length of each row's reasoning trace in tokens; counted where the pool does not say.

        Raises:
            UserError: it must be counted and there is no tokenizer to count with.
        """
        from s1x.selection.tokens import trace_tokens

        return trace_tokens(self)

    def random(self) -> random.Random:
        """The step's own generator: seeded by the run's seed and the step's place and name."""
        return random.Random(f"s1x selection {self.context.seed} {self._step}")


class Drops:
    """The rows that a step drops; the first reason given to a row stays."""

    def __init__(self, num_rows: int) -> None:
        import numpy as np

        self.reasons: list[str] = []
        self.codes: npt.NDArray[np.int16] = np.full(num_rows, -1, np.int16)
        self.details: dict[int, str] = {}
        self.report: dict[str, Any] = {}
        """What else the funnel should say of the step (JSON-able)."""

    def mark(self, places: Any, mask: Any, reason: str) -> None:
        """Drops the rows at `places` (or all rows in order, if None) where `mask` is true."""
        import numpy as np

        chosen = _as_bool(mask)
        where = np.flatnonzero(chosen) if places is None else np.asarray(places)[chosen]
        if not where.size:
            return
        if reason not in self.reasons:
            self.reasons.append(reason)
        new = where[self.codes[where] < 0]
        self.codes[new] = self.reasons.index(reason)

    def detail(self, place: int, text: str) -> None:
        """What exactly was found at a dropped row (a shared n-gram, a repeated passage)."""
        self.details.setdefault(int(place), text)

    def kept(self) -> npt.NDArray[np.bool_]:
        """True for each row that stays."""
        return self.codes < 0

    def counts(self) -> dict[str, int]:
        """Rows dropped for each reason."""
        found = Counter(self.codes[self.codes >= 0].tolist())
        return {self.reasons[code]: found[code] for code in sorted(found)}


def _as_bool(mask: Any) -> npt.NDArray[np.bool_]:
    import numpy as np

    if hasattr(mask, "fill_null"):
        mask = mask.fill_null(False).to_numpy(zero_copy_only=False)
    return np.asarray(mask, bool)


@dataclass(frozen=True)
class Step(Option):
    """Base of every step: a callable option that says what it reads."""

    chooses: ClassVar[bool] = False
    """Whether the step brings the rows down to the size wanted."""

    def __call__(self, rows: Rows) -> Drops:
        """Which rows to drop, and why."""
        raise NotImplementedError


def wanted_size(own: int | None, rows: Rows) -> int | None:
    """How many rows a choosing step is to leave: its own `size`, else `selection.size`.

    Raises:
        UserError: more than there are; names the numbers and the remedy.
    """
    size = own if own is not None else rows.context.size
    if size is not None and size > len(rows):
        raise UserError(
            f"selection.size must be {len(rows)} or less, got {size}: of the pool's "
            f"{rows.table.num_rows} rows {len(rows)} are left before the draw; "
            f"set selection.size={max(len(rows), 1)}, use a bigger pool, "
            "or loosen the recipe's steps"
        )
    return size
