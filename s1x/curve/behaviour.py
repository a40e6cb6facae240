"""What traces of one point did beside being right: spill into the answer, seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from s1x.curve.cells import Cell
from s1x.curve.curves import share_estimate
from s1x.curve.interval import Estimate, Result
from s1x.rows import CUT, LOOP, NATURAL, SPILL_CUT, SPILL_DELIMITER, SPILL_WAIT, SPILLS, TRUNCATED


@dataclass(frozen=True)
class Spill(Result):
    """Thinking that goes on in the answer (signs: `s1x.evaluate.spill`), percent of traces.

    Of those whose thinking was closed by force; one may show several signs.
    """

    num_closed: int  # traces that were cut or truncated, in a loop or not
    length_percent: float | None  # mean of their thinking tokens, in percent of the natural trace's
    any_percent: Estimate
    delimiter_percent: Estimate
    wait_percent: Estimate
    answer_cut_percent: Estimate
    natural_percent: Estimate  # any sign in the traces that the model ended itself: what is usual


@dataclass(frozen=True)
class Latency(Result):
    """Seconds per trace from its prompt on, beside all that ran at the same time.

    Only of traces all of whose tokens were written in that evaluation, none found in the store.
    Percentiles are interpolated linearly.
    """

    num_timed: int
    first_token_median_seconds: float
    first_token_p95_seconds: float
    thinking_median_seconds: float  # to the end of thinking
    thinking_p95_seconds: float
    total_median_seconds: float  # to the end of the answer
    total_p95_seconds: float


def spill(cell: Cell, natural: Cell | None = None) -> Spill | None:
    """Spill at a point; None where no thinking was closed by force, or the rows do not say.

    Args:
        cell: the point.
        natural: the point without a limit, by whose traces lengths are measured.
    """
    known = cell.rows.filter(pl.col("spill").is_not_null())
    closed = known.filter(pl.col("end_reason").is_in([CUT, TRUNCATED, LOOP]))
    if not closed.height:
        return None
    own, most = known.filter(pl.col("end_reason") == NATURAL), cell.samples_per_problem
    return Spill(
        num_closed=closed.height,
        length_percent=_length_percent(closed, natural),
        any_percent=_share_with(closed, SPILLS, most),
        delimiter_percent=_share_with(closed, (SPILL_DELIMITER,), most),
        wait_percent=_share_with(closed, (SPILL_WAIT,), most),
        answer_cut_percent=_share_with(closed, (SPILL_CUT,), most),
        natural_percent=_share_with(own, SPILLS, most),
    )


def _share_with(rows: pl.DataFrame, signs: tuple[str, ...], most: int) -> Estimate:
    """Percent of rows with any of the signs, by problem."""
    found = pl.any_horizontal(pl.col("spill").list.contains(sign) for sign in signs)
    shares = rows.group_by("key", maintain_order=True).agg(share=found.mean())
    return share_estimate(shares["share"], most)


def _length_percent(closed: pl.DataFrame, natural: Cell | None) -> float | None:
    if natural is None:
        return None
    whole = natural.rows.select("key", "sample", whole="thinking_tokens").filter(
        pl.col("whole") > 0
    )
    share = closed.join(whole, on=["key", "sample"]).select(
        100 * pl.col("thinking_tokens") / pl.col("whole")
    )
    return float(share.to_numpy().mean()) if share.height else None


def latency(cell: Cell) -> Latency | None:
    """Median and 95th percentile of the seconds at a point; None where no trace has them."""
    columns = ("first_token_seconds", "thinking_seconds", "wall_seconds")
    seconds = cell.rows.select(columns).drop_nulls().to_numpy()
    if not len(seconds):
        return None
    median, high = np.percentile(seconds, (50, 95), axis=0).tolist()
    return Latency(
        len(seconds), *(value for pair in zip(median, high, strict=True) for value in pair)
    )
