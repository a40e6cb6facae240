"""`make figures`: runs every sweep in full and writes docs/figures, beside the paper's figures.

Only what the page shows is evaluated: a figure narrows its sweep to its benchmarks and models. All
points of the sweeps are kept. Arguments are handed on to every sweep and come last, so that
`make figures ARGS="scale=quick"` is a rehearsal; `sweeps=[wait_count,wait_string]` runs some only.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.console import duration, say
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.parts import ends
from s1x.report.wandb import markdown

Summary = Mapping[str, Any]
Row = Mapping[str, str]
ROOT = Path(__file__).resolve().parent.parent
PAGE_OPTION, ONLY_OPTION = "page=", "sweeps="
HARD = "benchmark=[puzzles_hard]"
TUNED = "evaluate.models=[fine_tuned]"


def main(arguments: list[str]) -> int:
    """Runs the sweeps one after another; returns 1 if a job of one failed."""
    options = (PAGE_OPTION, ONLY_OPTION)
    own = {a.split("=")[0]: a.split("=", 1)[1] for a in arguments if a.startswith(options)}
    overrides = [a for a in arguments if not a.startswith(options)]
    outputs = [o.removeprefix("output=") for o in overrides if o.startswith("output=")]
    latest = ROOT / (outputs[-1] if outputs else "outputs") / "latest"
    wanted = own.get("sweeps", "").strip("[]").split(",") if "sweeps" in own else list(FIGURES)
    reports: dict[str, Path] = {}
    failed = False
    for name in wanted:
        begun = time.perf_counter()
        latest.unlink(missing_ok=True)
        command = [sys.executable, "run.py", "-m", "+experiment=s1k", f"+sweep={name}"]
        command += [*FIGURES[name].overrides, *overrides]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
        say(f"Sweep {name}: {duration(time.perf_counter() - begun)}")
        if latest.exists():
            reports[name] = latest.resolve()
    figures_page(reports, ROOT / own.get("page", "docs/figures"))
    return int(failed)


# -- the page --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A sweep's place in the page: what it is in the paper, which files show it, what it says."""

    title: str
    finding: str
    """What the paper found, in a sentence."""
    here: Callable[[Summary, Path], str]
    """Whether it holds here ("yes: ...", "no: ..."), from the report's numbers."""
    pictures: tuple[str, ...]
    """Beginnings of the names of its figures; the first is the main benchmark's."""
    table: str
    columns: tuple[str, ...]
    published: Callable[[], list[list[str]]]
    words: str
    """What else tells the laptop world from the 32B model."""
    overrides: tuple[str, ...] = (HARD, TUNED)
    shown: Callable[[Row], bool] = lambda _: True
    """Which rows of the table the page shows."""


INTRODUCTION = """# Figures

Each of the paper's figures, redrawn by a sweep at laptop scale and set beside what the paper
published. A model of about a million parameters answers procedural puzzles: this shows the
mechanism and tests the tool, and is no evidence about large models. Any gain from “Wait” comes
from a flaw that was designed into the teacher, and the base model can already search.

`make figures` writes this page anew. First, what the paper found, and whether it holds here:"""


def figures_page(reports: Mapping[str, Path], folder: Path) -> Path:
    """Writes README.md and copies the figures it shows.

    Args:
        reports: sweep → folder of its report (as `s1x.report.run` writes it).
        folder: where the page and a folder per sweep go; made if missing.

    Raises:
        UserError: a sweep that has no place in the page, or a folder without a report.
    """
    unknown = sorted(set(reports) - set(FIGURES))
    if unknown:
        raise UserError(f"no figure is known for {', '.join(unknown)}; known: {', '.join(FIGURES)}")
    shown = {name: figure for name, figure in FIGURES.items() if name in reports}
    for name in shown:
        if not (reports[name] / "summary.json").is_file():
            raise UserError(f"{reports[name]} has no summary.json; run the sweep {name} first")
    summaries = {n: json.loads((reports[n] / "summary.json").read_text("utf-8")) for n in shown}
    held = [[f.finding, f.here(summaries[n], reports[n])] for n, f in shown.items()]
    parts = [INTRODUCTION, markdown([["the paper found", "here"], *held])]
    for name, figure in shown.items():
        pictures = _copied(figure, reports[name], folder / name)
        scale = summaries[name]["scale"]
        told = "Ours, with 95% intervals" + (f" (scale {scale})" if scale != "laptop" else "")
        parts += [
            f"## {figure.title}",
            f"    python run.py -m +experiment=s1k +sweep={name}",
            *(f"![{picture.stem}]({name}/{picture.name})" for picture in pictures),
            f"{told}:",
            markdown(_ours(figure, reports[name])),
            *(["The paper's (s1-32B):", markdown(rows)] if (rows := figure.published()) else []),
            figure.words,
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / "README.md"


def _copied(figure: Figure, report: Path, place: Path) -> list[Path]:
    """The sweep's pictures, main benchmark first, copied to the page."""
    place.mkdir(parents=True, exist_ok=True)
    figures = report / "figures"
    found = [file for start in figure.pictures for file in sorted(figures.glob(f"{start}*.png"))]
    for file in found:
        shutil.copyfile(file, place / file.name)
    return found


def _ours(figure: Figure, report: Path) -> list[list[str]]:
    """The sweep's table with intervals in one cell, header first."""
    rows = [row for row in _table(report, figure.table) if figure.shown(row)]
    return [
        list(figure.columns),
        *([_with_interval(row, column) for column in figure.columns] for row in rows),
    ]


def _table(report: Path, name: str) -> list[dict[str, str]]:
    with (report / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _with_interval(row: Row, column: str) -> str:
    value, low, high = (_short(row.get(name) or "") for name in (column, *ends(column)))
    return value if "—" in (low, high) else f"{value} ({low} to {high})"


def _short(text: str) -> str:
    try:
        return f"{float(text):.1f}".removesuffix(".0")
    except ValueError:
        return text or "—"


# -- what the paper published ----------------------------------------------------------------------


def _published(table: Mapping[str, Sequence[float]], name: str) -> list[list[str]]:
    rows = [[key, *(f"{value}" for value in values)] for key, values in table.items()]
    return [[name, "AIME24 %", "MATH500 %", "GPQA Diamond %"], *rows]


def _published_points(points: Sequence[tuple[float, float]], x: str, y: str) -> list[list[str]]:
    tokens, values = [f"{a:,.0f}" for a, _ in points], [f"{b}" for _, b in points]
    return [[x, *tokens], [y, *values]]


def _published_waits() -> list[list[str]]:
    waits = {name: values for name, values in paper.MODELS.items() if name.startswith("s1-32B")}
    return _published(waits, "model")


def _published_methods() -> list[list[str]]:
    columns = ["control %", "scaling per doubling", "performance %"]
    rows = paper.rows(paper.TABLE_3, "method", paper.METRICS)
    methods = [[str(row[name]) for name in ("method", *columns)] for row in rows]
    return [["method (AIME24)", *columns], *methods]


# -- whether what the paper found holds here -------------------------------------------------------


def tuned(summary: Summary) -> list[Mapping[str, Any]]:
    """Thinking curves of fine-tuned models on the main benchmark."""
    main = summary["curves"][summary["main_curve"]]
    same = ("benchmark", "model_role")
    return [
        curve
        for curve in summary["curves"]
        if all(curve[key] == main[key] for key in same) and curve["prompt_format"] != "direct"
    ]


def _best(curve: Mapping[str, Any]) -> float:
    return float(curve["performance_percent"]["value"] or 0.0)


def _accuracies(summary: Summary) -> dict[str, float]:
    """Setting → accuracy, over all curves of the main benchmark."""
    points = [point for curve in tuned(summary) for point in curve["points"]]
    return {p["setting"]: p["accuracy_percent"] or 0.0 for p in points}


def _rises(summary: Summary, report: Path) -> str:
    slope = tuned(summary)[0]["scaling_per_doubling"]
    if slope["low"] is None:
        return "not known"
    answer = "yes" if slope["low"] > 0 else "no"
    span = "{value:+.1f} points per doubling ({low:+.1f} to {high:+.1f})".format(**slope)
    kinds = (False, "fine_tuned")
    new = [c for c in summary["curves"] if (c["in_domain"], c["model_role"]) == kinds]
    more = f"; on a family that was never trained on, {_best(new[0]):.0f}% at best" if new else ""
    return f"{answer}: {span}{more}"


def _waits_gain(summary: Summary, report: Path) -> str:
    points = _accuracies(summary)
    waits = [setting for setting in points if setting.startswith("Wait")]
    if "natural" not in points or not waits:
        return "not known"
    best, last = max(waits, key=lambda setting: points[setting]), waits[-1]
    gain = points[best] - points["natural"]
    more = f"; {last} gives {points[last] - points['natural']:+.1f}" if last != best else ""
    return f"{'yes' if gain > 0 else 'no'}: {gain:+.1f} points by {best}{more}"


def _wait_is_best(summary: Summary, report: Path) -> str:
    points = _accuracies(summary)
    best = max(points, key=lambda setting: points[setting])
    rows = _table(report, "ablation")
    same = [row["setting"] for row in rows if row["significance"] == "not significant"]
    answer = "yes" if best.startswith("Wait") else "no"
    if answer == "yes" and same:
        answer += f", though not significantly better than {', '.join(same)}"
    return f"{answer}: " + ", ".join(f"{name} {value:.1f}%" for name, value in points.items())


def _choice_matters(summary: Summary, report: Path) -> str:
    gap = "difference to reference"
    rows = [r for r in _table(report, "ablation") if r["setting"] == "natural" and r[gap]]
    if not rows:
        return "not known"
    lost = all(r["significance"] == "significant" and float(r[gap]) < 0 for r in rows)
    named = {r["run"].split(",")[0].removeprefix("selection="): r for r in rows}
    said = ", ".join(f"{name} {_with_interval(row, gap)}" for name, row in named.items())
    turns = " ".join(summary["turns"]).replace("selection=", "")
    return f"{'yes' if lost else 'not for all'}, at natural length: {said}. {turns}".strip()


def _forcing_is_best(summary: Summary, report: Path) -> str:
    curves = {c["policy"]: c for c in tuned(summary)}
    best = max(curves, key=lambda name: _best(curves[name]))
    control = {name: c["control_percent"]["value"] for name, c in curves.items()}
    own = control.get("budget_forcing")
    answer = "yes" if best == "budget_forcing" and own == 100 else "no"
    said = [f"best is {best.replace('_', ' ')} with {_best(curves[best]):.1f}%"]
    said.append(f"control of budget forcing {'—' if own is None else f'{own:.0f}%'}")
    falls = curves.get("rejection_sampling")
    if falls and falls["scaling_per_doubling"]["value"] is not None:
        slope = falls["scaling_per_doubling"]["value"]
        said.append(f"rejection sampling has {slope:+.1f} points per doubling (−35 in the paper)")
    for name, there in (("token_conditional", 40), ("step_conditional", 60)):
        if control.get(name) is not None:
            plain = name.replace("_", "-")
            said.append(f"{plain} has {control[name]:.0f}% control ({there}% in the paper)")
    return f"{answer}: {'; '.join(said)}"


def _longer_beats_more(summary: Summary, report: Path) -> str:
    points = [p for p in tuned(summary)[0]["points"] if p["accuracy_percent"] is not None]
    best = max(points, key=lambda point: point["accuracy_percent"])
    rival = _table(report, "samples")[-1]
    longer = best["accuracy_percent"] > float(rival["majority %"])
    return (
        f"{'yes' if longer else 'no'}: {best['setting']} has {best['accuracy_percent']:.1f}% with "
        f"{best['mean_total_tokens']:.0f} tokens per question, the vote of {rival['k']} natural "
        f"samples {float(rival['majority %']):.1f}% with {float(rival['total tokens']):.0f}"
    )


def _search_gains(summary: Summary, report: Path) -> str:
    benchmark = tuned(summary)[0]["benchmark"]
    rows = [row for row in _table(report, f"search_{benchmark}") if row["accuracy %"]]
    single = [r for r in rows if float(r["traces"]) <= 1]
    many = [r for r in rows if float(r["traces"]) > 1]
    if not single or not many:
        return "not known"
    one, other = (max(found, key=lambda r: float(r["accuracy %"])) for found in (single, many))
    gain = float(other["accuracy %"]) > float(one["accuracy %"])
    said = [
        f"{row['setting']} has {float(row['accuracy %']):.1f}% with {float(row['all tokens']):.0f} "
        "tokens"
        for row in (other, one)
    ]
    return f"{'yes' if gain else 'no'}: {said[0]}, the scorer's weighed in; {said[1]}"


def _closing_matters(summary: Summary, report: Path) -> str:
    gap = "difference to reference"
    rows = [row for row in _table(report, "ablation") if row[gap]]
    apart = [row for row in rows if row["significance"] == "significant"]
    said = [
        f"{row['run'].split(',')[0].removeprefix('budget.closing=')} at {row['setting']} "
        f"{_with_interval(row, gap)} points"
        for row in apart
    ]
    return f"{'yes' if said else 'no'}: {'; '.join(said) or 'no difference is significant'}"


def _votes_differ(summary: Summary, report: Path) -> str:
    rows = _last_k(_table(report, REPLAYED))
    said = [
        f"{row['rule']} {_with_interval(row, 'minus majority')} points with "
        f"{float(row['tokens saved %']):.0f}% of the tokens saved"
        for row in rows
        if float(row[ends("minus majority")[0]]) > 0 or float(row[ends("minus majority")[1]]) < 0
    ]
    return f"{'yes' if said else 'no'}: {'; '.join(said) or 'no difference is significant'}"


def _last_k(rows: Sequence[Row]) -> list[Row]:
    most = max((int(row["k"]) for row in rows), default=0)
    return [row for row in rows if int(row["k"]) == most]


REPLAYED = "replays_puzzles_hard"
POINTS = ("model", "setting", "thinking tokens", "accuracy %")
COMPARED = ("setting", "accuracy %", "thinking tokens", "difference to reference", "significance")
MANY = ("model", "setting", "accuracy %", "against the majority", "all tokens", "traces")
FIGURES = {
    "thinking_budget": Figure(
        "Figure 1: accuracy against the budget",
        "More thinking tokens, more accuracy",
        _rises,
        ("curve_puzzles_hard", "curve_puzzles_new"),
        "points_puzzles_hard",
        POINTS,
        lambda: _published_points(paper.CURVES["aime24"], "thinking tokens, AIME24", "accuracy %"),
        "s1-32B gains 15 points per doubling on AIME24. The axes differ by two orders of "
        "magnitude: "
        "these puzzles need tens of tokens. Cut at its smallest budget of 500 tokens, s1-32B still "
        "has 64% on MATH500 (and 0% on AIME24); a puzzle's trace that is cut has seldom found its "
        "answer yet.",
        ("benchmark=[puzzles_hard,puzzles_new]",),
    ),
    "wait_count": Figure(
        "Figure 4: suppressing the end of thinking",
        "Suppressing the end of thinking adds a little more, then flattens",
        _waits_gain,
        ("curve_puzzles_hard", "flips_puzzles_hard"),
        "points_puzzles_hard",
        POINTS,
        _published_waits,
        "Waits change s1-32B by +6.7 points at most on AIME24 (Wait x 4), by -0.4 to +0.4 on "
        "MATH500 and by +2 to +3 on GPQA Diamond. What may be gained here comes from a flaw: the "
        "teacher's traces take near misses for hits, and a recheck mends that; it is no evidence "
        "about large models.",
        (HARD,),
    ),
    "wait_string": Figure(
        "Table 4: what is appended instead",
        "“Wait” is the best string on AIME24",
        _wait_is_best,
        ("differences_puzzles_hard",),
        "ablation",
        COMPARED,
        lambda: _published(paper.TABLE_4, "appended twice"),
        "In the paper the strings differ by 3.3 points on AIME24, one question in thirty. Our "
        "model "
        "has read only “Wait” before a recheck: after another string it loses the thread, which "
        "says how it was taught, not which string is good. Where the end is only banned, it writes "
        "“Wait” itself.",
    ),
    "selection_ablation": Figure(
        "Table 2: which thousand questions",
        "A random, a diverse and a longest thousand are worse than s1K",
        _choice_matters,
        ("curve_puzzles_hard", "differences_puzzles_hard", "chosen_trace_tokens"),
        "ablation",
        ("run", *COMPARED),
        lambda: _published(paper.TABLE_2, "selection"),
        "In the paper the whole pool is best on AIME24 (53.3), then s1K (50.0), and the three "
        "other "
        "thousands lose 13 to 23 points. Part of the gain of s1K here is more tokens and more hard "
        "questions than a random thousand. By design the teacher takes more care with hard "
        "questions, so easy ones teach haste, which pays where the budget is small.",
        shown=lambda row: row["setting"] in ("natural", "Wait x 1"),
    ),
    "budget_policy": Figure(
        "Table 3: ways of spending the budget",
        "Budget forcing has full control and the best accuracy",
        _forcing_is_best,
        ("curve_puzzles_hard",),
        "metrics",
        ("benchmark", "model", "control %", "scaling per doubling", "performance %"),
        _published_methods,
        "In the paper budget forcing is best and, with rejection sampling, alone in full control "
        "without help. Rejection sampling falls with tokens there, because long traces are those "
        "that went wrong; short puzzles can show that less.",
    ),
    "sample_count": Figure(
        "Sequential and parallel scaling",
        "Thinking longer beats a vote over more samples",
        _longer_beats_more,
        ("parallel_puzzles_hard",),
        "samples",
        ("benchmark", "k", "total tokens", "average %", "majority %", "pass@k %"),
        lambda: _published_points(
            paper.MAJORITY_GPQA,
            "total tokens per question, GPQA Diamond",
            "majority of Qwen2.5-32B-Instruct, %",
        ),
        "In the paper s1-32B thinking longer passes the majority vote of its base model at a "
        "fraction of the tokens. Here the vote is over the fine-tuned model's own samples, a "
        "stronger opponent.",
    ),
    "search": Figure(
        "Section 6.2: many traces, and a model that scores them",
        "Searching with a reward model (REBASE) gains where one trace has come to its end",
        _search_gains,
        ("search_puzzles_hard",),
        "search_puzzles_hard",
        MANY,
        lambda: [
            ["AIME24", "tokens", "accuracy %"],
            *(
                [name, f"{x:,.0f}", f"{y}"]
                for name, points in paper.PARALLEL_AIME24.items()
                for x, y in points
            ),
        ],
        "The verifier here has learnt from traces of such a model and tells finished ones apart "
        "nearly without fault (its card: AUC 0.98, halfway 0.76), which no published reward model "
        "does on mathematics; it reads each prefix anew, and all it reads is counted.",
    ),
    "closing": Figure(
        "Beyond the paper: how thinking that is cut is closed",
        "(The paper closes at once, with the delimiter. Does another way change accuracy?)",
        _closing_matters,
        ("curve_puzzles_hard", "closing_puzzles_hard"),
        "spill",
        ("model", "setting", "accuracy %", "spill %", "length, % of natural", "closed by force"),
        list,
        "Spill is thinking that goes on in the answer. Our model has never read the sentence, so "
        "that it says little about a model that understands one. A line of a puzzle's trace is one "
        "attempt: at its end the model expects the next attempt.",
    ),
    "confidence": Figure(
        "Beyond the paper: which samples to stop, and whose votes to count",
        "(The paper takes the majority. Is another rule better, or cheaper, on the same samples?)",
        _votes_differ,
        ("replays_puzzles_hard",),
        REPLAYED,
        ("rule", "k", "accuracy %", "minus majority", "total tokens", "tokens saved %"),
        list,
        "All rules read the same samples, so that their differences are paired. A group is 8 "
        "tokens here, since a trace has some 50 where those of the published rules have tens of "
        "thousands; and a wrong trace of this model is a short one as a rule, which is why the "
        "shortest ones are the worst to trust.",
        shown=lambda row: row["k"] == "16",
    ),
}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
