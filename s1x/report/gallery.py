"""`make figures`: the sweeps' reports as one page, each beside what the paper published.

from s1x.report.gallery import figures_page
figures_page({"wait_count": Path("outputs/report/0123456789ab")}, Path("docs/figures"))
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.errors import UserError
from s1x.report import paper

Summary = Mapping[str, Any]
PAGE = "README.md"


@dataclass(frozen=True)
class Figure:
    """A sweep's place in the page: what it is in the paper, which files show it, what it says."""

    title: str
    pictures: tuple[str, ...]
    """Beginnings of the names of its figures; the first is the main benchmark's."""
    table: str
    columns: tuple[str, ...]
    published: Callable[[], list[list[str]]]
    words: Callable[[Summary], str]
    """Where the laptop world does as the 32B model did, and where it does not."""
    finding: str
    """What the paper found, in a sentence."""
    here: Callable[[Summary, Path], str]
    """Whether it holds here ("yes: ...", "no: ..."), from the report's numbers."""
    rows: Callable[[Mapping[str, str]], bool] = lambda _: True
    """Which rows of the table the page shows."""


def figures_page(reports: Mapping[str, Path], folder: Path) -> Path:
    """Writes the page and copies the figures it shows.

    Args:
        reports: sweep → folder of its report (as `s1x.report.run` writes it).
        folder: where `README.md` and a folder a sweep go; made if missing.

    Raises:
        UserError: a sweep that has no place in the page, or a folder without a report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = {name: figure for name, figure in FIGURES.items() if name in reports}
    found = {name: _part(name, figure, reports[name], folder) for name, figure in shown.items()}
    parts = [_INTRODUCTION, _findings(shown, reports), *found.values()]
    unknown = sorted(set(reports) - set(FIGURES))
    if unknown:
        raise UserError(f"no figure is known for {', '.join(unknown)}; known: {', '.join(FIGURES)}")
    (folder / PAGE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / PAGE


def _part(name: str, figure: Figure, report: Path, folder: Path) -> str:
    if not (report / "summary.json").is_file():
        raise UserError(f"{report} has no summary.json; run the sweep {name} first")
    summary = _summary(report)
    pictures = _copied(figure, report, folder / name)
    shown = [f"![{picture.stem}]({name}/{picture.name})" for picture in pictures]
    command = f"    python run.py -m +experiment=s1k +sweep={name}"
    scale = summary["scale"]
    ours = "Ours, with 95% intervals" + (f" (scale {scale})" if scale != "laptop" else "")
    return "\n\n".join(
        [
            f"## {figure.title}",
            command,
            *shown,
            f"{ours}:",
            markdown(_ours(figure, report)),
            "The paper's (s1-32B):",
            markdown(figure.published()),
            figure.words(summary),
        ]
    )


def _summary(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    return found


def _findings(shown: Mapping[str, Figure], reports: Mapping[str, Path]) -> str:
    """What the paper found, and whether it holds here, before anything else."""
    rows = [
        [figure.finding, figure.here(_summary(reports[name]), reports[name])]
        for name, figure in shown.items()
    ]
    return markdown([["the paper found", "here"], *rows])


def _copied(figure: Figure, report: Path, place: Path) -> list[Path]:
    """The sweep's pictures, main benchmark first, copied to the page."""
    place.mkdir(parents=True, exist_ok=True)
    found = [
        file
        for start in figure.pictures
        for file in sorted((report / "figures").glob(f"{start}*.png"))
    ]
    for file in found:
        shutil.copyfile(file, place / file.name)
    return found


def _ours(figure: Figure, report: Path) -> list[list[str]]:
    """The sweep's table with intervals in one cell, header first."""
    table = [list(figure.columns)]
    for row in _table(report, figure.table):
        if figure.rows(row):
            table.append([_with_interval(row, column) for column in figure.columns])
    return table


def _table(report: Path, name: str) -> list[dict[str, str]]:
    with (report / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _with_interval(row: Mapping[str, str], column: str) -> str:
    value, low, high = (row.get(f"{column}{end}") or "" for end in ("", ", low", ", high"))
    if not low:
        return _short(value)
    return f"{_short(value)} ({_short(low)} to {_short(high)})"


def _short(text: str) -> str:
    try:
        return f"{float(text):.1f}".removesuffix(".0")
    except ValueError:
        return text or "—"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its header."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


# -- what the paper published ----------------------------------------------------------------------


def _published_curve() -> list[list[str]]:
    return [
        ["thinking tokens, AIME24", *(f"{x:,.0f}" for x, _ in paper.CURVES["aime24"])],
        ["accuracy %", *(f"{y}" for _, y in paper.CURVES["aime24"])],
    ]


def _published(table: Mapping[str, Sequence[float]], name: str) -> list[list[str]]:
    rows = [[key, *(f"{value}" for value in values)] for key, values in table.items()]
    return [[name, "AIME24 %", "MATH500 %", "GPQA Diamond %"], *rows]


def _published_waits() -> list[list[str]]:
    waits = {name: values for name, values in paper.MODELS.items() if name.startswith("s1-32B")}
    return _published(waits, "model")


def _published_methods() -> list[list[str]]:
    rows = [
        [
            m.name,
            f"{m.control_percent:g}",
            f"{m.scaling_per_doubling:g}",
            f"{m.performance_percent}",
        ]
        for m in paper.TABLE_3
    ]
    return [["method (AIME24)", "control %", "scaling per doubling", "performance %"], *rows]


def _published_majority() -> list[list[str]]:
    return [
        ["total tokens a question, GPQA Diamond", *(f"{x:,.0f}" for x, _ in paper.MAJORITY_GPQA)],
        ["majority of Qwen2.5-32B-Instruct, %", *(f"{y}" for _, y in paper.MAJORITY_GPQA)],
    ]


# -- what ours says beside it ----------------------------------------------------------------------


def tuned(summary: Summary) -> list[Mapping[str, Any]]:
    """Thinking curves of fine-tuned models on the main benchmark."""
    main = summary["curves"][summary["main_curve"]]
    return [
        c
        for c in summary["curves"]
        if c["benchmark"] == main["benchmark"]
        and c["model_role"] == main["model_role"]
        and c["prompt_format"] != "direct"
    ]


def _best(curve: Mapping[str, Any]) -> float:
    return float(curve["performance_percent"]["value"] or 0.0)


def _budget_words(summary: Summary) -> str:
    curve = tuned(summary)[0]
    slope = curve["scaling_per_doubling"]
    rises = slope["low"] is not None and slope["low"] > 0
    said = "rises with the budget in both, on average" if rises else "does not clearly rise here"
    ours = "unknown" if slope["value"] is None else f"{slope['value']:+.1f}"
    return (
        f"Accuracy {said}: {ours} points per doubling of thinking tokens, +15 for s1-32B on "
        "AIME24. The axes differ by two orders of magnitude: these puzzles need tens of tokens. "
        "Cut at its smallest budget of 500 tokens, s1-32B still has 64% on MATH500 (and 0% on "
        "AIME24); a puzzle's trace that is cut has seldom found its answer yet."
    )


def _wait_words(summary: Summary) -> str:
    points = {p["setting"]: p["accuracy_percent"] for p in tuned(summary)[0]["points"]}
    waits = {k: v for k, v in points.items() if k.startswith("Wait") and v is not None}
    start = points.get("natural")
    if start is None or not waits:
        return "The sweep has no natural point or no Wait to compare."
    setting, best = max(waits.items(), key=lambda item: item[1])
    return (
        f"Waits change accuracy by {best - start:+.1f} points at most here ({setting}), by +6.7 "
        "for s1-32B on AIME24 (Wait x 4), by -0.4 to +0.4 on MATH500 and by +2 to +3 on GPQA "
        "Diamond. What may be gained here comes from a flaw: the teacher's traces take near misses "
        "for hits, and a recheck mends that; it is no evidence about large models."
    )


def _string_words(summary: Summary) -> str:
    best = {p["setting"]: p["accuracy_percent"] for c in tuned(summary) for p in c["points"]}
    known = {k: v for k, v in best.items() if v is not None}
    first = max(known, key=lambda k: known[k]) if known else "none"
    wait = known.get("Wait x 2", 0.0)
    lost = [k for k in ("Hmm x 2", "Alternatively x 2") if known.get(k, wait) < wait - 20]
    taught = (
        f" The model has read only “Wait” before a recheck: after {' or '.join(lost)} it loses the "
        "thread, which says how it was taught, not which string is good."
        if lost
        else ""
    )
    banned = (
        " Where the end is only banned, it writes “Wait” itself."
        if abs(known.get("no string x 2", -100.0) - wait) < 5
        else ""
    )
    return (
        f"Best here: {first}. In the paper “Wait” is best on AIME24 and the strings differ by 3.3 "
        f"points there, one question in thirty.{taught}{banned}"
    )


def _selection_words(summary: Summary) -> str:
    ranked = sorted(tuned(summary), key=_best, reverse=True)
    order = ", ".join(f"{c['run']} {_best(c):.1f}%" for c in ranked)
    return (
        f"Order here, at the best setting of each: {order}. In the paper the whole pool is best on "
        "AIME24 (53.3), then s1K (50.0), and the three other thousands lose 13 to 23 points. Part "
        "of the gain of s1K here is more tokens and more hard questions than a random thousand. By "
        "design the teacher takes more care with hard questions, so easy ones teach haste."
    )


def _policy_words(summary: Summary) -> str:
    rows = [
        f"{c['policy'].replace('_', ' ')} {_best(c):.1f}% with control "
        + (
            "—"
            if c["control_percent"]["value"] is None
            else f"{c['control_percent']['value']:.0f}%"
        )
        for c in sorted(tuned(summary), key=_best, reverse=True)
    ]
    return (
        f"Here: {'; '.join(rows)}. In the paper budget forcing is best and, with rejection "
        "sampling, alone in full control without help. Rejection sampling falls with tokens there, "
        "because long traces are those that went wrong; short puzzles can show that less."
    )


def _sample_words(summary: Summary) -> str:
    curve = max(tuned(summary), key=lambda c: c["samples_per_problem"])
    return (
        f"With up to {curve['samples_per_problem']} samples; the best sequential setting has "
        f"{_best(curve):.1f}%. In the paper s1-32B thinking longer passes the majority vote of its "
        "base model at a fraction of the tokens. Here the vote is over the fine-tuned model's own "
        "samples, a stronger opponent."
    )


# -- whether what the paper found holds here -------------------------------------------------------


def _rises(summary: Summary, report: Path) -> str:
    slope = tuned(summary)[0]["scaling_per_doubling"]
    if slope["low"] is None:
        return "not known"
    answer = "yes" if slope["low"] > 0 else "no"
    said = (
        f"{slope['value']:+.1f} points per doubling ({slope['low']:+.1f} to {slope['high']:+.1f})"
    )
    new = [
        c for c in summary["curves"] if c["in_domain"] is False and c["model_role"] == "fine_tuned"
    ]
    more = f"; on a family that was never trained on, {_best(new[0]):.0f}% at best" if new else ""
    return f"{answer}: {said}{more}"


def _waits_gain(summary: Summary, report: Path) -> str:
    points = {p["setting"]: p["accuracy_percent"] for p in tuned(summary)[0]["points"]}
    start = points.get("natural")
    waits = {k: v for k, v in points.items() if k.startswith("Wait") and v is not None}
    if start is None or not waits:
        return "not known"
    best = max(waits, key=lambda k: waits[k])
    gain = waits[best] - start
    last = list(waits)[-1]
    more = f"; {last} gives {waits[last] - start:+.1f}" if last != best else ""
    return f"{'yes' if gain > 0 else 'no'}: {gain:+.1f} points by {best}{more}"


def _wait_is_best(summary: Summary, report: Path) -> str:
    accuracy = {p["setting"]: p["accuracy_percent"] or 0.0 for p in _points(summary)}
    best = max(accuracy, key=lambda k: accuracy[k])
    same = [r["setting"] for r in _table(report, "ablation") if r["clear"] == "not told apart"]
    if not best.startswith("Wait"):
        answer = "no"
    else:
        answer = f"yes, but not told apart from {', '.join(same)}" if same else "yes"
    said = ", ".join(f"{name} {value:.1f}%" for name, value in accuracy.items())
    return f"{answer}: {said}"


def _points(summary: Summary) -> list[Mapping[str, Any]]:
    return [p for c in tuned(summary) for p in c["points"]]


def _choice_matters(summary: Summary, report: Path) -> str:
    rows = [r for r in _table(report, "ablation") if r["setting"] == "natural" and r["clear"]]
    if not rows:
        return "not known"
    lost = all(r["clear"] == "clear" and float(r["difference to reference"]) < 0 for r in rows)
    said = ", ".join(
        f"{_selection(r['run'])} {_with_interval(r, 'difference to reference')}" for r in rows
    )
    return f"{'yes' if lost else 'not for all'}, at natural length: {said}"


def _selection(run: str) -> str:
    return run.split(",")[0].removeprefix("selection=")


def _forcing_is_best(summary: Summary, report: Path) -> str:
    curves = {c["policy"]: c for c in tuned(summary)}
    best = max(curves, key=lambda name: _best(curves[name]))
    control = curves.get("budget_forcing", {}).get("control_percent", {}).get("value")
    answer = "yes" if best == "budget_forcing" and control == 100 else "no"
    falls = curves.get("rejection_sampling")
    more = ""
    if falls and falls["scaling_per_doubling"]["value"] is not None:
        slope = falls["scaling_per_doubling"]["value"]
        more = f"; rejection sampling has {slope:+.1f} points per doubling (−35 in the paper)"
    kept = "—" if control is None else f"{control:.0f}%"
    for name, there in (("token_conditional", 40), ("step_conditional", 60)):
        told = curves.get(name, {}).get("control_percent", {}).get("value")
        if told is not None:
            more += f"; {name.replace('_', '-')} keeps {told:.0f}% of what it is told ({there}%)"
    return (
        f"{answer}: best is {best.replace('_', ' ')} with {_best(curves[best]):.1f}%, "
        f"control of budget forcing {kept}{more}"
    )


def _longer_beats_more(summary: Summary, report: Path) -> str:
    points = [p for p in tuned(summary)[0]["points"] if p["accuracy_percent"] is not None]
    best = max(points, key=lambda p: p["accuracy_percent"])
    tokens = best["mean_total_tokens"]
    rival = _table(report, "samples")[-1]
    longer = best["accuracy_percent"] > float(rival["majority %"])
    return (
        f"{'yes' if longer else 'no'}: {best['setting']} has {best['accuracy_percent']:.1f}% with "
        f"{tokens:.0f} tokens a question, the vote of {rival['k']} natural samples "
        f"{float(rival['majority %']):.1f}% with {float(rival['total tokens']):.0f}"
    )


_INTRODUCTION = """# Figures

Each of the paper's figures, redrawn by a sweep at laptop scale and set beside what the paper
published. A model of about a million parameters answers procedural puzzles: this shows the
mechanism and tests the tool, and is no evidence about large models. Any gain from “Wait” comes
from a flaw that was designed into the teacher, and the base model can already search.

`make figures` writes this page anew. First, what the paper found, and whether it holds here:"""

FIGURES = {
    "thinking_budget": Figure(
        "Figure 1: accuracy against the budget",
        ("curve_puzzles_hard", "curve_puzzles_new"),
        "points_puzzles_hard",
        ("model", "setting", "thinking tokens", "accuracy %"),
        _published_curve,
        _budget_words,
        "More thinking tokens, more accuracy",
        _rises,
    ),
    "wait_count": Figure(
        "Figure 4: suppressing the end of thinking",
        ("curve_puzzles_hard", "flips_puzzles_hard"),
        "points_puzzles_hard",
        ("model", "setting", "thinking tokens", "accuracy %"),
        _published_waits,
        _wait_words,
        "Suppressing the end of thinking adds a little more, then flattens",
        _waits_gain,
    ),
    "wait_string": Figure(
        "Table 4: what is appended instead",
        ("differences_puzzles_hard",),
        "ablation",
        ("setting", "accuracy %", "thinking tokens", "difference to reference", "clear"),
        lambda: _published(paper.TABLE_4, "appended twice"),
        _string_words,
        "“Wait” is the best string on AIME24",
        _wait_is_best,
    ),
    "selection_ablation": Figure(
        "Table 2: which thousand questions",
        ("curve_puzzles_hard", "differences_puzzles_hard", "chosen_trace_tokens"),
        "ablation",
        ("run", "setting", "accuracy %", "thinking tokens", "difference to reference", "clear"),
        lambda: _published(paper.TABLE_2, "selection"),
        _selection_words,
        "A random, a diverse and a longest thousand are worse than s1K",
        _choice_matters,
        lambda row: row["setting"] in ("natural", "Wait x 1"),
    ),
    "budget_policy": Figure(
        "Table 3: ways of spending the budget",
        ("curve_puzzles_hard",),
        "metrics",
        ("benchmark", "model", "control %", "scaling per doubling", "performance %"),
        _published_methods,
        _policy_words,
        "Budget forcing has full control and the best accuracy",
        _forcing_is_best,
    ),
    "sample_count": Figure(
        "Sequential and parallel scaling",
        ("parallel_puzzles_hard",),
        "samples",
        ("benchmark", "k", "total tokens", "average %", "majority %", "pass@k %"),
        _published_majority,
        _sample_words,
        "Thinking longer beats a vote over more samples",
        _longer_beats_more,
    ),
}
