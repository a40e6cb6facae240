"""Ten traces to read, chosen by stated rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from s1x.report.inputs import Inputs
from s1x.report.parts import Section, Trace
from s1x.report.traces import MENDED, SPOILT, Entry, texts
from s1x.rows import CORRECT, CUT, NATURAL, WRONG

LEAD = (
    "Each is the first trace that fits the rule in its heading. Marked words were not written by "
    "the model: the budget policy forced them."
)
NUM_TRACES = 10
Values = dict[str, Any]
Rule = tuple[str, Callable[[Entry], bool]]


def build(inputs: Inputs, found: Sequence[Entry]) -> Section:
    """Picks the traces and reads their texts."""
    picked = list(pick(inputs, found))
    read = {id(e): (row, cut) for e, row, cut in texts(inputs, [entry for _, entry in picked])}
    shown = []
    for rule, entry in picked:
        row, segments = read[id(entry)]
        shown.append(Trace(rule, row, segments.thinking, segments.answer))
    return Section("reading", "Ten traces to read", LEAD, tuple(shown), "Ten traces")


def pick(inputs: Inputs, found: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Rules and the first trace that fits each, no problem twice; then filled up to ten."""
    used: set[tuple[str, str]] = set()
    rules = [*_rules(inputs)]
    rules += [("further reading", lambda e: e.values["prompt_format"] != "direct")] * NUM_TRACES
    given = 0
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


def _rules(inputs: Inputs) -> Iterator[Rule]:
    main = inputs.main
    if main is None:
        return
    cell, natural = main.cells[0], main.natural.setting
    model = {"model": cell.model, "model_role": cell.model_role}
    model |= {"prompt_format": cell.prompt_format}
    own = {**model, "benchmark": main.benchmark}
    last = main.cells[-1].setting
    yield "a Wait mended the answer", _waited(own, MENDED)
    yield "a Wait spoilt the answer", _waited(own, SPOILT)
    for name, more in (
        ("right without any forcing", {"verdict": CORRECT, "setting": natural}),
        ("wrong, ended by the model itself", {"verdict": WRONG, "end_reason": NATURAL}),
        ("cut by the limit and wrong", {"verdict": WRONG, "end_reason": CUT}),
        ("cut by the limit and still right", {"verdict": CORRECT, "end_reason": CUT}),
        (f"wrong even at {last}", {"verdict": WRONG, "setting": last}),
    ):
        yield name, _fits({**own, **more})
    for other in inputs.benchmarks[1:]:
        yield f"{other}, {natural}", _fits({**model, "benchmark": other, "setting": natural})
    base = {"model_role": "base", "benchmark": main.benchmark, "setting": natural}
    yield "the base model in the same template", _fits({**base, "prompt_format": "thinking"})


def _fits(wanted: Values) -> Callable[[Entry], bool]:
    return lambda entry: all(entry.values[name] == value for name, value in wanted.items())


def _waited(wanted: Values, flip: str) -> Callable[[Entry], bool]:
    fits = _fits(wanted)
    return lambda entry: entry.flip == flip and bool(entry.values["num_waits"]) and fits(entry)
