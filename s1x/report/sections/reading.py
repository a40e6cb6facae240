"""Ten traces to read, chosen by stated rules, and the place of the trace viewer."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence

from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Html, Section
from s1x.report.segments import Segments
from s1x.report.traces import MENDED, SPOILT, Entry, texts
from s1x.rows import CORRECT, CUT, NATURAL, WRONG

LEAD = (
    "Each is the first trace that fits the rule in its heading. Marked words were not written by "
    "the model: the budget policy forced them."
)
NUM_TRACES = 10
Rule = tuple[str, Callable[[Entry], bool]]


def build(inputs: Inputs, found: Sequence[Entry]) -> Section:
    """Picks and renders the traces; all outside text is escaped."""
    picked = list(pick(inputs, found))
    by_entry = {
        id(e): (row, segments) for e, row, segments in texts(inputs, [e for _, e in picked])
    }
    shown = [_article(rule, *by_entry[id(entry)]) for rule, entry in picked]
    shown[:1] = [text.replace("<details", "<details open", 1) for text in shown[:1]]
    return Section("reading", "Ten traces to read", LEAD, (Html("".join(shown)),), "Ten traces")


def pick(inputs: Inputs, found: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Rules and the first trace that fits each, no problem twice; then filled up to ten."""
    used: set[tuple[str, str]] = set()
    given = 0
    rules = _rules(inputs)
    rules += [("further reading", lambda e: e.values["prompt_format"] != "direct")] * NUM_TRACES
    for name, fits in rules:
        for entry in found:
            problem = (entry.values["benchmark"], entry.values["problem_id"])
            if problem not in used and fits(entry):
                used.add(problem)
                given += 1
                yield name, entry
                break
        if given == NUM_TRACES:
            return


def _rules(inputs: Inputs) -> list[Rule]:
    main = inputs.main
    if main is None:
        return []
    last = next((c.setting for c in reversed(main.cells)), "")
    rules: list[Rule] = [
        ("a Wait mended the answer", _is(main, flip=MENDED, waits=True)),
        ("a Wait spoilt the answer", _is(main, flip=SPOILT, waits=True)),
        ("right without any forcing", _is(main, verdict=CORRECT, setting=main.natural.setting)),
        ("wrong, ended by the model itself", _is(main, verdict=WRONG, end=NATURAL)),
        ("cut by the limit and wrong", _is(main, verdict=WRONG, end=CUT)),
        ("cut by the limit and still right", _is(main, verdict=CORRECT, end=CUT)),
        (f"wrong even at {last}", _is(main, verdict=WRONG, setting=last)),
    ]
    for benchmark in inputs.benchmarks:
        if benchmark != main.benchmark:
            rules.append(
                (
                    f"{benchmark}, {main.natural.setting}",
                    _is(main, setting=main.natural.setting, benchmark=benchmark),
                )
            )
    rules.append(("the base model in the same template", _base(main)))
    return rules


def _is(
    main: Series,
    *,
    flip: str | None = None,
    waits: bool = False,
    verdict: str | None = None,
    setting: str | None = None,
    end: str | None = None,
    benchmark: str | None = None,
) -> Callable[[Entry], bool]:
    model, wanted = main.cells[0], benchmark or main.benchmark

    def fits(entry: Entry) -> bool:
        v = entry.values
        return (
            v["benchmark"] == wanted
            and (v["model"], v["model_role"]) == (model.model, model.model_role)
            and v["prompt_format"] == model.prompt_format
            and (flip is None or entry.flip == flip)
            and (not waits or bool(v["num_waits"]))
            and (verdict is None or v["verdict"] == verdict)
            and (setting is None or v["setting"] == setting)
            and (end is None or v["end_reason"] == end)
        )

    return fits


def _base(main: Series) -> Callable[[Entry], bool]:
    def fits(entry: Entry) -> bool:
        v = entry.values
        same = v["benchmark"] == main.benchmark and v["setting"] == main.natural.setting
        return bool(same and v["model_role"] == "base" and v["prompt_format"] != "direct")

    return fits


def _article(rule: str, row: dict[str, object], segments: Segments) -> str:
    facts = (
        f"{row['benchmark']} · {row['problem_id']} · {row['setting']} · "
        f"{row['thinking_tokens']} thinking tokens"
    )
    verdict = html.escape(str(row["verdict"]))
    return (
        f'<details class="trace"><summary><span class="verdict {verdict}">{verdict}</span> '
        f"{html.escape(rule)} <small>{html.escape(facts)}</small></summary>"
        f'<p class="question tex">{html.escape(str(row["question"] or ""))}</p>'
        f'<p class="small">reference answer {html.escape(str(row["reference_answer"]))} · '
        f"extracted {html.escape(str(row['extracted_answer'] or 'nothing'))} "
        f"({html.escape(str(row['extraction_rule'] or 'no rule'))})</p>"
        f'<div class="said">{_spans(segments.thinking)}</div>'
        f'<div class="said answer">{_spans(segments.answer)}</div></details>'
    )


def _spans(pieces: Sequence[str]) -> str:
    tags = ("span class=tex", "mark class=forced")
    return "".join(
        f"<{tags[i % 2]}>{html.escape(text)}</{tags[i % 2].split()[0]}>"
        for i, text in enumerate(pieces)
        if text
    )
