"""The report as one HTML file that works offline, in dark and light, on a phone.

Text from models, data and settings is escaped, or travels as JSON in script elements that no
browser executes and reaches the page by `textContent`. A content security policy allows only the
page's own two scripts, by their hashes, and no connection at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from s1x.report.charts import to_json
from s1x.report.parts import Html, Section
from s1x.report.tables import Table
from s1x.report.traces import Blocks

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("chart.js", "math.js", "viewer.js", "page.js")


def page(
    title: str,
    headline: str,
    notes: Sequence[str],
    facts: Sequence[tuple[str, str]],
    top: Table | None,
    sections: Sequence[Section],
    blocks: Blocks,
) -> str:
    """The whole file.

    Args:
        title: headline of the report.
        headline: the main result in a sentence.
        notes: what must be said openly, shown first.
        facts: what was run, name and value.
        top: table of the run's stages.
        sections: in order.
        blocks: the traces.
    """
    charts: dict[str, Any] = {}
    body = "".join(_section(section, charts) for section in sections)
    scripts = [_asset("temml.min.js"), "\n".join(_asset(name) for name in SCRIPTS)]
    return _FRAME.format(
        policy=_policy(scripts),
        title=html.escape(title),
        css=_asset("report.css"),
        headline=html.escape(headline),
        notes=_notes(notes),
        facts=_facts(facts),
        top=top.to_html() if top else "",
        nav=_nav(sections),
        sections=body + _viewer(blocks),
        charts=json_island(charts),
        blocks=_blocks(blocks),
        scripts="".join(f"<script>{text}</script>" for text in scripts),
    )


def json_island(value: Any) -> str:
    """JSON that can stand inside a script element: `<` cannot begin a tag or end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escaped)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _section(section: Section, charts: dict[str, Any]) -> str:
    parts = []
    for item in section.items:
        if isinstance(item, Table):
            parts.append(item.to_html())
        elif isinstance(item, Html):
            parts.append(item.text)
        elif isinstance(item, str):
            parts.append(f"<p>{html.escape(item)}</p>")
        else:
            charts[item.key] = to_json(item)
            parts.append(
                f'<figure class="chart" data-chart="{html.escape(item.key)}">'
                f"<figcaption>{html.escape(item.title)}</figcaption>"
                f"<noscript>The picture is figures/{html.escape(item.key)}.png</noscript></figure>"
            )
    grouped = _grouped(parts)
    return (
        f'<section id="{section.key}"><h2>{html.escape(section.title)}</h2>'
        f'<p class="lead">{html.escape(section.lead)}</p>{grouped}</section>'
    )


def _grouped(parts: list[str]) -> str:
    """Neighbouring charts side by side where the page is wide enough."""
    out, row = [], []
    for part in [*parts, ""]:
        if part.startswith('<figure class="chart"'):
            row.append(part)
            continue
        if row:
            count = "n1" if len(row) == 1 else ("odd" if len(row) % 2 else "even")
            out.append(f'<div class="charts {count}">{"".join(row)}</div>')
            row = []
        out.append(part)
    return "".join(out)


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return (
        '<aside class="honest">' + "".join(f"<p>{html.escape(n)}</p>" for n in notes) + "</aside>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts
    )


def _nav(sections: Sequence[Section]) -> str:
    links = [(s.key, s.short or s.title) for s in sections] + [("viewer", "All traces")]
    return "".join(f'<a href="#{key}">{html.escape(title)}</a>' for key, title in links)


def _viewer(blocks: Blocks) -> str:
    words = f"{blocks.num_traces:,} traces, each opened on demand from inside this file."
    if blocks.num_left_out:
        words += (
            f" {blocks.num_left_out:,} more are in rows.parquet of the evaluations: whole problems "
            "were left out evenly to keep the file small."
        )
    if blocks.num_unmarked:
        words += (
            f" In {blocks.num_unmarked:,} of them forced tokens are not marked, because the "
            "model's tokenizer was not on this machine."
        )
    return (
        '<section id="viewer"><h2>All traces</h2>'
        f'<p class="lead">{html.escape(words)} Choose one to read; beside it stands the same '
        "problem at another budget.</p>"
        '<div class="viewer"><noscript>Reading all traces needs JavaScript.</noscript></div>'
        "</section>"
    )


def _blocks(blocks: Blocks) -> str:
    kind = 'type="application/octet-stream"'
    index = f'<script {kind} id="traces-index">{blocks.index}</script>'
    return index + "".join(
        f'<script {kind} id="traces-{i}">{text}</script>' for i, text in enumerate(blocks.texts)
    )


@lru_cache
def _asset(name: str) -> str:
    text = (ASSETS / name).read_text(encoding="utf-8")
    assert not re.search("</(script|style)", text), f"{name} would end its element"
    return text


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title><link rel="icon" href="data:,"><style>{css}</style></head>
<body><header><p class="brand">s1x · test-time scaling report</p><h1>{title}</h1>
{notes}<p class="headline">{headline}</p><dl class="facts">{facts}</dl>{top}</header>
<nav>{nav}</nav><main>{sections}</main>
<footer><p>Made from evaluation rows only. Figures as PNG and SVG, tables as CSV and summary.json
stand beside this file. Math is set by Temml (MIT licence).</p></footer>
<script type="application/json" id="charts">{charts}</script>{blocks}{scripts}</body></html>
"""
