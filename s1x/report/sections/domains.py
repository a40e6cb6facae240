"""In-domain against out-of-domain accuracy (the article's second warning)."""

from __future__ import annotations

from typing import Any

from s1x.curve import by_domain
from s1x.report.charts import Chart, Part, bars
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section, Table, accuracy, estimate

LEAD = (
    "A model trained on some fields is good at those fields. In-domain: benchmarks whose kinds of "
    "questions were in the training data; out-of-domain: those that were not."
)
SMALLEST_DOMAIN = 5
PLACES = {True: "in-domain", None: "not stated", False: "out-of-domain"}
MOST_NAMES = 8


def build(inputs: Inputs) -> Section | None:
    """Accuracy by benchmark with its place in or out of the training domains, and by domain."""
    if not inputs.tuned:
        return None
    first = {series.benchmark: series for series in reversed(inputs.tuned)}
    order = list(PLACES.values())
    shown = sorted(
        (first[name] for name in inputs.benchmarks if name in first),
        key=lambda s: order.index(_place(s)),
    )
    rows = [_row(inputs, series) for series in shown]
    items: list[Chart | Table] = [_chart(shown)] if len(shown) > 1 else []
    items.append(Table("in_and_out_of_domain", "By benchmark", rows))
    domains = [row for series in shown for row in _domain_rows(series)]
    if domains:
        note = f"Domains with fewer than {SMALLEST_DOMAIN} problems are left out."
        items.append(Table("domains", "By domain", domains, {"thinking tokens": 1}, note=note))
    return Section("domains", "In-domain and out-of-domain", LEAD, tuple(items), "Domains")


def _place(series: Series) -> str:
    inside = series.about.get("in_domain")
    return PLACES[inside if isinstance(inside, bool) else None]


def _chart(shown: list[Series]) -> Chart:
    parts = []
    for name, hue in (("natural", "green"), ("best setting", "orange")):
        points = [s.point(s.natural if name == "natural" else s.best) for s in shown]
        spans = tuple((p.interval_low_percent, p.interval_high_percent) for p in points)
        parts.append(Part(name, hue, tuple(p.accuracy_percent for p in points), spans))
    names = [f"{s.benchmark} ({_place(s)})" for s in shown]
    return bars("domains", "By benchmark", "accuracy (%)", names, parts, x_max=100.0)


def _row(inputs: Inputs, series: Series) -> dict[str, Any]:
    base = [b for b in inputs.on(series.benchmark) if b.role == "base" and b is not series]
    direct = next((b.point(b.natural) for b in base if b.direct), None)
    same = next((b.point(b.natural) for b in base if not b.direct), None)
    fields = series.about.get("domain_names") or []
    more = " …" if len(fields) > MOST_NAMES else ""
    return {
        "benchmark": series.benchmark,
        "place": _place(series),
        "domains": ", ".join(map(str, fields[:MOST_NAMES])) + more,
        **accuracy("base, direct %", direct),
        **accuracy("base, natural %", same),
        **accuracy("natural %", series.point(series.natural)),
        **accuracy("best %", series.point(series.best)),
        "best setting": series.best.setting,
    }


def _domain_rows(series: Series) -> list[dict[str, Any]]:
    best = {found.domain: found.accuracy_percent for found in by_domain(series.best)}
    rows = [
        {
            "benchmark": series.benchmark,
            "domain": found.domain,
            **estimate("natural %", found.accuracy_percent),
            **estimate("best %", best.get(found.domain)),
            "thinking tokens": found.mean_thinking_tokens,
            "n": found.num_problems,
        }
        for found in by_domain(series.natural)
        if found.num_problems >= SMALLEST_DOMAIN
    ]
    return rows if len(rows) > 1 else []
