"""In-domain against out-of-domain accuracy (the article's second warning)."""

from __future__ import annotations

from s1x.curve import Cell, by_domain
from s1x.report.charts import Bars, Part
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.tables import Interval, Table

LEAD = (
    "A model trained on some fields is good at those fields. In-domain: benchmarks whose kinds of "
    "questions were in the training data; out-of-domain: those that were not."
)
SMALLEST_DOMAIN = 5


def build(inputs: Inputs) -> Section | None:
    """Accuracy by benchmark with its place in or out of the training domains, and by domain."""
    tuned = [s for s in inputs.series if s.role != "base" and not s.direct] or [
        s for s in inputs.series if not s.direct
    ]
    if not tuned:
        return None
    first = {s.benchmark: s for s in reversed(tuned)}
    ordered = sorted((first[b] for b in inputs.benchmarks if b in first), key=_order)
    items: list[Bars | Table | str] = [_chart(ordered), _table(inputs, ordered)]
    by_domain = [row for s in ordered for row in _domain_rows(s)]
    if by_domain:
        columns = ("benchmark", "domain", "natural %", "best setting %", "thinking tokens", "n")
        items.append(
            Table(
                "domains",
                "By domain",
                columns,
                tuple(by_domain),
                {"thinking tokens": 1},
                note=f"Domains with fewer than {SMALLEST_DOMAIN} problems are left out; intervals "
                "are wide where n is small.",
            )
        )
    return Section("domains", "In-domain and out-of-domain", LEAD, tuple(items), "Domains")


def place(series: Series) -> str:
    """`in-domain`, `out-of-domain` or `not stated`."""
    inside = (series.info.get("benchmark_info") or {}).get("in_domain")
    if inside is None:
        return "not stated"
    return "in-domain" if inside else "out-of-domain"


def _order(series: Series) -> int:
    return ("in-domain", "not stated", "out-of-domain").index(place(series))


def _chart(ordered: list[Series]) -> Bars:
    parts = []
    for name, tone in (("natural", "c2"), ("best setting", "fine_tuned")):
        points = [_point(s, s.natural if name == "natural" else s.best) for s in ordered]
        parts.append(Part(name, tone, *(tuple(p[i] for p in points) for i in range(3))))
    bars = tuple(f"{s.benchmark} ({place(s)})" for s in ordered)
    return Bars("domains", "Fine-tuned model", "accuracy (%)", bars, tuple(parts), x_max=100.0)


def _point(series: Series, cell: Cell) -> tuple[float | None, float | None, float | None]:
    point = next(p for p in series.curve.points if p.point == cell.point)
    return point.accuracy_percent, point.interval_low_percent, point.interval_high_percent


def _table(inputs: Inputs, ordered: list[Series]) -> Table:
    rows = []
    for s in ordered:
        base = [b for b in inputs.on(s.benchmark) if b.role == "base"]
        direct = next((b for b in base if b.direct), None)
        same = next((b for b in base if not b.direct), None)
        info = s.info.get("benchmark_info") or {}
        fields = info.get("domain_names") or []
        rows.append(
            (
                *(s.benchmark, place(s)),
                ", ".join(map(str, fields[:8])) + (" …" if len(fields) > 8 else ""),
                Interval(_point(direct, direct.natural)[0]) if direct else None,
                Interval(_point(same, same.natural)[0]) if same else None,
                Interval(*_point(s, s.natural)),
                Interval(*_point(s, s.best)),
                s.best.setting,
            )
        )
    columns = (
        *("benchmark", "place", "domains", "base, direct %", "base, natural %"),
        *("fine-tuned, natural %", "fine-tuned, best %", "best setting"),
    )
    return Table("in_and_out_of_domain", "By benchmark", columns, tuple(rows))


def _domain_rows(series: Series) -> list[tuple[object, ...]]:
    best = {found.domain: found.accuracy_percent for found in by_domain(series.best)}
    rows: list[tuple[object, ...]] = []
    for found in by_domain(series.natural):
        if found.num_problems >= SMALLEST_DOMAIN:
            both = (found.accuracy_percent, best.get(found.domain))
            shares = (Interval(e.value, e.low, e.high) if e else Interval(None) for e in both)
            tokens, n = found.mean_thinking_tokens, found.num_problems
            rows.append((series.benchmark, found.domain, *shares, tokens, n))
    return rows if len(rows) > 1 else []
