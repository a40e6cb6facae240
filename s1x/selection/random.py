"""The paper's 1K-random (section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step, wanted_size


@option("selection_step", "random")
@dataclass(frozen=True)
class RandomDraw(Step):
    """Draws rows at random (the paper's 1K-random)."""

    size: int | None = setting(None, "rows to draw; null: selection.size", at_least=1)
    chooses: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> Drops:
        drawn = rows.random().sample(range(len(rows)), wanted_size(self.size, rows))
        return rows.keep_rows((rows.numbers[place] for place in drawn), "not drawn")
