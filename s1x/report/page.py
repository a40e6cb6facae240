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

import jinja2
from markupsafe import Markup

from s1x.report.charts import NARROW, PALETTE, Chart, for_page
from s1x.report.parts import Section, Table, Trace, file_name
from s1x.report.sections.overview import Head
from s1x.report.traces import Blocks

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("math.js", "viewer.js", "page.js")
KINDS = {Table: "table", Trace: "trace", Chart: "charts", str: "words"}


def page(
    head: Head, sections: Sequence[Section], blocks: Blocks, pictures: Mapping[str, str]
) -> str:
    """The whole file; the first chart opens it.

    Args:
        head: what stands above the sections.
        sections: in order.
        blocks: the traces.
        pictures: chart's key → its SVG.
    """
    scripts = [_asset("temml.min.js"), "\n".join(map(_asset, SCRIPTS))]
    charts = (item for section in sections for item in section.items if isinstance(item, Chart))
    hero = next(charts, None)
    opening = hero and {
        "key": hero.key,
        "wide": for_page(pictures[hero.key], "wide"),
        "narrow": for_page(hero.svg(NARROW), "narrow"),
    }
    shown = [
        {**vars(section), "content": list(_content(section, hero, pictures))}
        for section in sections
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        vars(head),
        hero=opening,
        sections=shown,
        blocks=blocks,
        palette=PALETTE,
        css=Markup(_asset("report.css")),
        scripts=scripts,
        policy=Markup(_policy(scripts)),
    )


def _content(
    section: Section, hero: Chart | None, pictures: Mapping[str, str]
) -> Iterator[tuple[str, object]]:
    """A section's items with their kinds; neighbouring charts stand side by side."""
    items = [i for i in section.items if i is not hero and not (isinstance(i, Chart) and i.aside)]
    for kind, group in groupby(items, lambda item: KINDS[type(item)]):
        if kind == "charts":
            keys = [item.key for item in group if isinstance(item, Chart)]
            yield kind, [(key, for_page(pictures[key], file_name(key))) for key in keys]
        else:
            yield from ((kind, item) for item in group)


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
