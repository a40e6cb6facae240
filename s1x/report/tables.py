"""Tables as data: written as CSV for scripts and as HTML for people."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: a text so short stays on one line
SHORT = 26


@dataclass(frozen=True)
class Interval:
    """A number with its 95% interval; any part may be unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 1
    signed: bool = False

    def text(self) -> str:
        """`62.3 (55.0 to 69.1)`, `+12.0 (+4.1 to +19.8)`, or an em dash where it is unknown."""
        if self.value is None:
            return "—"
        sign = "+" if self.signed else ""
        number = [
            f"{v:{sign}.{self.digits}f}" for v in (self.value, self.low, self.high) if v is not None
        ]
        if len(number) < 3:
            return number[0]
        return f"{number[0]} ({number[1]} to {number[2]})"


@dataclass(frozen=True)
class Table:
    """Rows of values under named columns.

    Attributes:
        key: file name of the CSV.
        rows: cells as text, number, `Interval` or None (unknown, shown as a dash).
        digits: after the point, by column name; 0 for columns not named.
        strong: indexes of rows to stand out.
        note: a sentence below.
        folded: closed until it is asked for.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    digits: dict[str, int] = field(default_factory=dict)
    strong: frozenset[int] = frozenset()
    note: str = ""
    folded: bool = False

    def to_csv(self) -> str:
        """CSV text; an interval takes three columns, an unknown value is empty."""
        spread = [
            any(isinstance(row[i], Interval) for row in self.rows) for i in range(len(self.columns))
        ]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names: list[str] = []
        for name, wide in zip(self.columns, spread, strict=True):
            names += [name, f"{name}, low", f"{name}, high"] if wide else [name]
        writer.writerow(names)
        for row in self.rows:
            writer.writerow(_csv_row(row, spread))
        return out.getvalue()

    def to_html(self) -> str:
        """An HTML table; all text is escaped."""
        numeric = [
            all(isinstance(row[i], (int, float, Interval, type(None))) for row in self.rows)
            for i in range(len(self.columns))
        ]
        head = "".join(
            f'<th scope="col"{_right(n)}>{html.escape(name)}</th>'
            for name, n in zip(self.columns, numeric, strict=True)
        )
        body = "".join(
            f"<tr{' class=strong' if i in self.strong else ''}>{self._row(row, numeric)}</tr>"
            for i, row in enumerate(self.rows)
        )
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        title = html.escape(self.title)
        caption = "" if self.folded else f"<figcaption>{title}</figcaption>"
        figure = (
            f'<figure class="table" data-key="{html.escape(self.key)}">{caption}'
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{note}</figure>"
        )
        return f"<details><summary>{title}</summary>{figure}</details>" if self.folded else figure

    def _row(self, row: tuple[Any, ...], numeric: Sequence[bool]) -> str:
        cells = []
        for value, name, is_number in zip(row, self.columns, numeric, strict=True):
            text = shown(value, self.digits.get(name, 0))
            kind = "n" if is_number else ("" if len(text) > SHORT else "s")
            cells.append(f'<td class="{kind}">{html.escape(text)}</td>')
        return "".join(cells)


def _right(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def shown(value: Any, digits: int = 0) -> str:
    """A cell's text: thousands separated, an em dash for what is unknown."""
    if value is None:
        return "—"
    if isinstance(value, Interval):
        return value.text()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,.{digits}f}"
    return str(value)


def _csv_row(row: tuple[Any, ...], spread: Sequence[bool]) -> list[Any]:
    cells: list[Any] = []
    for value, wide in zip(row, spread, strict=True):
        if isinstance(value, Interval):
            cells += [value.value, value.low, value.high]
        else:
            cells += [value, None, None] if wide else [value]
    return ["" if cell is None else cell for cell in cells]
