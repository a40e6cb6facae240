"""The report as one HTML file that works offline, in dark and light, on a phone.

Text from models, data and settings is escaped, or travels compressed in script elements that no
browser executes and reaches the page by `textContent`. A content security policy allows only the
page's own scripts, by their hashes, and no connection at all. The charts are SVG in the page: they
are there without scripts and in print.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from s1x.report.charts import NARROW, Chart, for_page
from s1x.report.parts import Section, Table, Trace, file_name
from s1x.report.sections.overview import Head
from s1x.report.traces import Blocks
from s1x.web import MATH, asset, render

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("math.js", "trace.js", "tree.js", "viewer.js", "page.js")
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
    scripts = [asset(ASSETS / MATH), "\n".join(asset(ASSETS / name) for name in SCRIPTS)]
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
    text, _ = render(
        ASSETS,
        [ASSETS / "report.css"],
        scripts,
        connect="none",
        **vars(head),
        hero=opening,
        sections=shown,
        blocks=blocks,
    )
    return text


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
