"""Sections of what traces do: flips, how they end, votes over several, ten of them to read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from s1x.curve import Flips, Replay, SampleCount, flips_between, replays, sample_counts
from s1x.curve import flips as flips_within
from s1x.report import paper
from s1x.report.charts import Part, bars, histograms
from s1x.report.inputs import Inputs, Series
from s1x.report.lines import Line, Mark, lines, published
from s1x.report.parts import Item, Row, Table, Trace, accuracy
from s1x.report.traces import MENDED, PROBLEM, SPOILT, texts
from s1x.rows import CORRECT, CUT, LOOP, NATURAL, TRUNCATED, WRONG
from s1x.traces.confidence import GROUP_TOKENS

#: field of `Flips` → its hue
KINDS = {
    "stayed_right": "green",
    "wrong_to_right": "mint",
    "right_to_wrong": "rose",
    "stayed_wrong": "silver",
}
ENDS = {NATURAL: "green", CUT: "amber", TRUNCATED: "red", LOOP: "purple"}
MOST_BINS = 30
#: field of `SampleCount` → its words and hue
VOTES = {
    "majority_percent": ("majority of k", "purple"),
    "shortest_majority_percent": ("shortest-majority of k", "cyan"),
    "pass_percent": ("pass@k (any of k is right)", "green"),
}
#: rule of `s1x.curve.replays` → its hue
REPLAYS = {
    **{"adaptive consistency": "orange", "short-1@k": "cyan", "short-3@k": "green"},
    **{"DeepConf, best 10%": "red", "DeepConf, best 90%": "blue"},
    "vote of the best 10% by tail": "amber",
}
NUM_TRACES = 10


def flips(inputs: Inputs) -> Iterator[Item]:
    """Flips between neighbouring points whose number of waits grows, of every thinking curve."""
    rows: list[Row] = []
    for series in inputs.thinking:
        steps = _wait_steps(series)
        for name, f in steps.items():
            row: Row = {
                **{"benchmark": series.benchmark, "model": inputs.name(series), "step": name},
                **{"wrong → right": f.wrong_to_right, "right → wrong": f.right_to_wrong},
                "net points": f.net_points,
                **{"stayed right": f.stayed_right, "stayed wrong": f.stayed_wrong},
                "answer changed": f.changed,
                "samples": sum(vars(f)[kind] for kind in KINDS),
            }
            rows.append(row)
        if steps and series in inputs.tuned:
            yield bars(
                inputs.key("flips", series),
                f"{series.benchmark}, {inputs.name(series)}: answers before and after",
                "samples",
                list(steps),
                [
                    Part.of(kind.replace("_", " "), hue, [vars(f)[kind] for f in steps.values()])
                    for kind, hue in KINDS.items()
                ],
                stacked=True,
                aside=series.benchmark != inputs.benchmarks[0],
                notes=[f"+{f.wrong_to_right} −{f.right_to_wrong}" for f in steps.values()],
            )
    yield Table("flips", "Answer flips", rows)


def _wait_steps(series: Series) -> dict[str, Flips]:
    """Named flips: between points where waits were added, else between answers asked on the way."""
    waited = [c for c in series.cells if series.num_waits(c) > 0 and c is not series.natural]
    pairs = itertools.pairwise([series.natural, *waited])
    if waited:
        return {f"{a.setting} → {b.setting}": flips_between(a, b) for a, b in pairs}
    return {f"answer {f.step} → {f.step + 1}": f for f in flips_within(series.cells[-1])}


def budget(inputs: Inputs) -> Iterator[Item]:
    """How long traces get at each setting and how their thinking ended.

    Of the first thinking curve of each benchmark; the page shows one.
    """
    for index, series in enumerate(inputs.first(inputs.thinking)):
        title = f"{series.benchmark}, {inputs.name(series)}"
        points = series.curve.points
        if any(p.natural_percent is None or p.mean_thinking_tokens is None for p in points):
            continue  # how and where thinking ended is not recorded
        yield bars(
            f"ends_{series.benchmark}",
            f"{title}: how thinking ended",
            "% of traces",
            [p.setting for p in points],
            [
                Part.of(end, hue, [vars(point)[f"{end}_percent"] for point in points])
                for end, hue in ENDS.items()
            ],
            stacked=True,
            notes=[f"{p.mean_thinking_tokens:,.0f} tokens" for p in points],
            x_max=100.0,
            aside=index > 0,
        )
        longest = max(int(cell.thinking_tokens.max()) for cell in series.cells)
        width = max(1, -(-(longest + 1) // MOST_BINS))
        edges = [float(edge) for edge in range(0, longest + width + 1, width)]
        frames: dict[str, dict[str, Sequence[int]]] = {}
        for cell in series.cells:
            ended = np.array([end or "" for end in cell.end_reason])
            lengths = {end: cell.thinking_tokens[ended == end] for end in ENDS}
            counts = {end: np.histogram(n, bins=edges)[0].tolist() for end, n in lengths.items()}
            frames[cell.setting] = counts
        key, title = f"lengths_{series.benchmark}", f"{title}: thinking lengths"
        yield histograms(key, title, "thinking tokens", edges, frames, ENDS, index > 0)


def parallel(inputs: Inputs) -> Iterator[Item]:
    """Sequential and parallel scaling on one axis, of curves with several samples per problem."""
    rows: list[Row] = []
    for series in _most_samples(inputs.thinking):
        counts = sample_counts(series.natural)
        for c in counts:
            row: Row = {
                **{"benchmark": series.benchmark, "model": inputs.name(series), "k": c.k},
                "total tokens": c.mean_total_tokens,
                **{"average %": c.average_percent, "majority %": c.majority_percent},
                "shortest-majority %": c.shortest_majority_percent,
                **{"pass@k %": c.pass_percent, "n": c.num_problems},
            }
            rows.append(row)
        if series not in inputs.tuned or not counts or counts[0].mean_total_tokens is None:
            continue  # without tokens the table says what needs no axis of them
        points = series.curve.points
        sequential = [Mark(p.mean_total_tokens, accuracy(p), p.setting) for p in points]
        shown = [Line("sequential", "orange", sequential, labelled=True)]
        for column, (name, hue) in VOTES.items():
            marks = [Mark(c.mean_total_tokens, vars(c)[column], f"k = {c.k}") for c in counts]
            shown.append(Line(name, hue, marks, dashed=column == "pass_percent"))
        if paper.benchmark_key(series.benchmark) == "gpqa_diamond":
            shown.append(published("majority, Qwen2.5-32B-Instruct", paper.MAJORITY_GPQA))
        yield lines(
            inputs.key("parallel", series),
            f"{series.benchmark}, {inputs.name(series)}",
            "total tokens per question (log scale)",
            "accuracy (%)",
            shown,
        )
        yield from _stopped_early(inputs, series, counts)
    yield Table("samples", "At every k", rows)


def _saving(replay: Replay) -> Mark:
    saved = f"{replay.saved_percent:.0f}% of the tokens saved"
    return Mark(replay.mean_total_tokens, replay.accuracy_percent, f"k = {replay.k}", [saved])


def _stopped_early(inputs: Inputs, series: Series, counts: Sequence[SampleCount]) -> Iterator[Item]:
    """Rules that stop sampling early, beside the majority of the same samples."""
    sampling = series.info.get("sampling") or {}
    group_tokens = int(sampling.get("confidence_group_tokens") or GROUP_TOKENS)
    found = replays(series.natural, group_tokens=group_tokens)
    if not found:
        return
    title = f"{series.benchmark}, {inputs.name(series)}: sampling that stops early"
    votes = [Mark(c.mean_total_tokens, c.majority_percent, f"k = {c.k}") for c in counts]
    shown = [Line("majority of all k", "purple", votes, labelled=True)]
    for name, hue in REPLAYS.items():
        marks = [_saving(replay) for replay in found if replay.rule == name]
        if marks:
            shown.append(Line(name, hue, marks))
    x_title = "total tokens per question (log scale)"
    yield lines(inputs.key("replays", series), title, x_title, "accuracy (%)", shown)
    rows: list[Row] = [
        {
            **{"benchmark": series.benchmark, "model": inputs.name(series), "rule": r.rule},
            **{"k": r.k, "accuracy %": r.accuracy_percent, "minus majority": r.gain_points},
            **{"total tokens": r.mean_total_tokens, "tokens saved %": r.saved_percent},
            "n": r.num_problems,
        }
        for r in found
    ]
    key, title = inputs.key("replays", series), "Rules that stop sampling early, replayed"
    yield Table(key, title, rows)


def _most_samples(found: Sequence[Series]) -> list[Series]:
    """Curves with several samples; of those of one model the one with the most.

    Fewer samples of a problem are the first of the more, so a smaller job shows nothing new.
    """
    most: dict[tuple[object, ...], Series] = {}
    for series in found:
        key = (*series.cells[0].key, series.info.get("model_fingerprint"), series.info.get("seed"))
        count = series.natural.samples_per_problem
        if count > max(1, most[key].natural.samples_per_problem if key in most else 1):
            most[key] = series
    return list(most.values())


# -- ten traces to read ----------------------------------------------------------------------------


def reading(inputs: Inputs, found: pl.DataFrame) -> Iterator[Trace]:
    """The first trace that fits each rule, no problem twice; then filled up to ten."""
    picked: list[tuple[str, pl.DataFrame]] = []
    others = pl.col("prompt_format") != "direct"
    if not found.select(others.any()).item():  # answers at once are all there is
        others = pl.lit(True)
    for name, fits in [*_rules(inputs), *[("further reading", others)] * NUM_TRACES]:
        first = found.filter(fits).head(1)
        if len(first) and len(picked) < NUM_TRACES:
            picked.append((name, first))
            found = found.join(first, on=PROBLEM, how="anti", maintain_order="left")
    if not picked:
        return
    chosen = pl.concat([first for _, first in picked])
    read = {(row["source"], row["row"]): (row, cut) for row, cut in texts(inputs, chosen)}
    for name, first in picked:
        row, cut = read[first["source"][0], first["row"][0]]
        yield Trace(name, row, cut.thinking, cut.answer)


def _rules(inputs: Inputs) -> Iterator[tuple[str, pl.Expr]]:
    main = inputs.main
    if main is None:
        return
    cell, natural, last = main.cells[0], main.natural.setting, main.cells[-1].setting
    model = {"model": cell.model, "model_role": cell.model_role}
    model |= {"prompt_format": cell.prompt_format}
    own = {**model, "benchmark": main.benchmark}
    waited = pl.col("num_waits") > 0
    yield "a Wait mended the answer", waited & _fits(own, flip=MENDED)
    yield "a Wait spoilt the answer", waited & _fits(own, flip=SPOILT)
    yield "right without any forcing", _fits(own, verdict=CORRECT, setting=natural)
    yield "wrong, ended by the model itself", _fits(own, verdict=WRONG, end_reason=NATURAL)
    yield "cut by the limit and wrong", _fits(own, verdict=WRONG, end_reason=CUT)
    yield "cut by the limit and still right", _fits(own, verdict=CORRECT, end_reason=CUT)
    yield f"wrong even at {last}", _fits(own, verdict=WRONG, setting=last)
    for other in inputs.benchmarks[1:]:
        yield f"{other}, {natural}", _fits(model, benchmark=other, setting=natural)
    base = {"model_role": "base", "benchmark": main.benchmark, "setting": natural}
    yield "the base model in the same template", _fits(base, prompt_format="thinking")


def _fits(wanted: Mapping[str, str], **more: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == value for name, value in {**wanted, **more}.items())
