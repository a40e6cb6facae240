"""Web pages that are one file: scripts and styles inside, nothing loaded, no other script runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup

#: what pages share: colours, style, math, and how traces are shown
SHARED = Path(__file__).parent / "report" / "assets"
MATH = "temml.min.js"


@cache
def asset(path: Path) -> str:
    """The text of a script or a style sheet."""
    text = path.read_text(encoding="utf-8")
    assert not re.search("</(script|style)", text), f"{path.name} would end its element"
    return text


def palette() -> Mapping[str, tuple[str, str]]:
    """Hue → colours on light and on dark ground."""
    look: Mapping[str, Mapping[str, tuple[str, str]]]
    look = yaml.safe_load(asset(SHARED / "look.yaml"))
    return look["palette"]


def island(value: object) -> Markup:
    """Data as JSON for a script element that no browser executes."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))


def render(
    folder: Path, styles: Sequence[Path], scripts: Sequence[str], connect: str, **values: object
) -> tuple[str, str]:
    """A page and its content security policy.

    Args:
        folder: of `page.html`, which may include the shared parts.
        styles: sheets, in order.
        scripts: texts, a script element each; nothing else runs.
        connect: whom scripts may talk to ('none', 'self').
        values: of the template.
    """
    loader = jinja2.FileSystemLoader([folder, SHARED])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    policy = _policy(scripts, connect)
    text = environment.get_template("page.html").render(
        **values,
        palette=palette(),
        css=Markup("".join(map(asset, styles))),
        scripts=scripts,
        policy=Markup(policy),
    )
    return text, policy


def _policy(scripts: Sequence[str], connect: str) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src '{connect}'; base-uri 'none'; form-action 'none'"
    )
