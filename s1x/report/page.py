"""The report as one HTML file that works offline, in dark and light, on a phone.

Text from models, data and settings is escaped, or travels compressed in script elements that no
browser executes and reaches the page by `textContent`. A content security policy allows only the
page's own scripts, by their hashes, and no connection at all. The charts are SVG in the page: they
are there without scripts and in print.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from s1x.report.charts import NARROW, PALETTE, Chart, for_page
from s1x.report.parts import Section, Table, Trace, file_name
from s1x.report.traces import Blocks

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("math.js", "viewer.js", "page.js")


def page(
    head: Mapping[str, Any],
    hero: Chart | None,
    sections: Sequence[Section],
    blocks: Blocks,
    pictures: Mapping[str, str],
) -> str:
    """The whole file.

    Args:
        head: title, finding, subtitle, words, notes, facts and stages (a table, or None).
        hero: the chart that the page opens with.
        sections: in order.
        blocks: the traces.
        pictures: chart's key → its SVG.
    """
    scripts = [_asset("temml.min.js"), "\n".join(map(_asset, SCRIPTS))]
    shown = [
        {**vars(section), "content": list(_content(section, hero, pictures))}
        for section in sections
    ]
    opening = None
    if hero:
        wide, narrow = for_page(pictures[hero.key], "wide"), for_page(hero.svg(NARROW), "narrow")
        opening = {"key": hero.key, "wide": wide, "narrow": narrow}
    islands = [("traces-index", blocks.index)]
    islands += [(f"traces-{i}", text) for i, text in enumerate(blocks.texts)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        **head,
        hero=opening,
        sections=shown,
        viewer=_viewer_words(blocks),
        islands=islands,
        palette=PALETTE,
        css=Markup(_asset("report.css")),
        scripts=scripts,
        policy=Markup(_policy(scripts)),
    )


def _content(
    section: Section, hero: Chart | None, pictures: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    """A section's items with their kinds; neighbouring charts stand side by side."""
    kinds = {Table: "table", Trace: "trace", Chart: "charts", str: "words"}
    items = [i for i in section.items if i is not hero and not (isinstance(i, Chart) and i.aside)]
    for kind, group in groupby(items, lambda item: kinds[type(item)]):
        if kind == "charts":
            charts = [item for item in group if isinstance(item, Chart)]
            named = [(c.key, for_page(pictures[c.key], file_name(c.key))) for c in charts]
            yield kind, named
        else:
            yield from ((kind, item) for item in group)


def _viewer_words(blocks: Blocks) -> str:
    words = f"{blocks.num_traces:,} traces, each opened on demand from inside this file."
    if blocks.num_left_out:
        words += (
            f" {blocks.num_left_out:,} more are in rows.parquet of the evaluations: whole problems "
            "were left out evenly to keep the file small."
        )
    if blocks.num_unmarked:
        words += (
            f" In {blocks.num_unmarked:,} of them forced tokens are not marked, because the "
            "model's tokenizer was not in the folder of its run or on this machine."
        )
    return words


@cache
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
