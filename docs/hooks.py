"""Adds the reference of every option to the site, generated from the options' declarations."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

from s1x.config import PARTS
from s1x.info import OptionInfo, info, parts_of
from s1x.messages import groups, options_of
from s1x.option import Option

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

#: what a group swaps
GROUPS = {
    "experiment": "a run, by name: what is chosen for all other groups",
    "scale": "the machine that it runs on, and the sizes that fit it",
    "pool": "where questions with traces come from",
    "selection": "which of them are chosen, as a list of steps",
    "selection_step": "the steps of a recipe",
    "model": "the model that is trained and asked",
    "train": "how weights and optimizer states lie on the devices",
    "engine": "what writes the traces",
    "scorer": "what scores the steps of traces, for searches",
    "workers": "who runs the engine: this process, or copies on every machine",
    "budget": "how thinking tokens are spent",
    "benchmark": "the questions that are asked",
    "grader": "what decides whether an answer is right",
    "import": "others' outputs that the report is over",
    "tracker": "where curves and traces are logged besides the report",
    "sweep": "the paper's figures, as multiruns",
    "settings": "settings that belong to no group",
}
#: pages of the reference made of docstrings
PYTHON = {
    "python": ["s1x.library"],
    "extending": [
        *("s1x.option", "s1x.budget.policy", "s1x.budget.thinking", "s1x.traces.request"),
        *("s1x.engine.engine", "s1x.benchmark.grader", "s1x.selection.step", "s1x.report.tracker"),
    ],
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """One page per group, and a table of them."""
    named = [*dict.fromkeys([*GROUPS, *groups()])]
    for group in named:
        page = f"# {group}\n\n{_about(group)}\n\n" + "\n".join(_sections(group))
        files.append(File.generated(config, f"reference/{group}.md", content=page))
    for name, modules in PYTHON.items():
        page = f"# {name}\n\n" + "\n\n".join(f"::: {module}" for module in modules)
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    rows = [f"| [`{group}`]({group}.md) | {_about(group)} |" for group in named]
    index = [
        "# Reference",
        "",
        "Every option, made from its declaration. `s1x --info budget.early_exit` shows the same.",
        "",
        "| group | what it chooses |",
        "|---|---|",
        *rows,
        "",
        "In Python: [the library](python.md), and [what an extension derives from](extending.md).",
    ]
    files.append(File.generated(config, "reference/index.md", content="\n".join(index)))
    return files


def _about(group: str) -> str:
    return GROUPS.get(group, "") and GROUPS[group][0].upper() + GROUPS[group][1:] + "."


def _sections(group: str) -> Iterator[str]:
    if group == "settings":
        names = list(PARTS)
    else:
        options = options_of(group) if group in groups() else parts_of(group)
        names = [f"{group}.{option}" for option in options]
    for name in names:
        yield from _section(info(name))


def _section(option: OptionInfo) -> Iterator[str]:
    yield f"## {option.name.rpartition('.')[2]}\n"
    for text in (option.doc, option.notes):
        if text:
            yield _escape(text) + "\n"
    if option.cls is Option:
        return
    yield "| setting | default | what it says |\n|---|---|---|"
    for s in option.settings():
        about = ", ".join(text for text in (s.type, s.limits) if text)
        says = f"{_escape(s.doc)} <small>({_escape(about)})</small>"
        yield f"| {_code(s.name)} | {_code(s.default)} | {says} |"
    yield ""


def _code(text: str) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return f"<code>{html.escape(shown).replace('|', '&#124;')}</code>"


def _escape(text: str) -> str:
    return re.sub(r"([|<*\[\]_])", r"\\\1", text)
