"""What a reader of an evaluation's numbers must know, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from s1x.budget import Policy
from s1x.evaluate.table import Row
from s1x.rows import CUT, LOOP, TRUNCATED, UNGRADED


def share_cut(rows: Sequence[Row]) -> float | None:
    """The share of answers that came to their limit before their end."""
    return sum(row["answer_cut"] for row in rows) / len(rows) if rows else None


def findings(
    chosen: Sequence[Policy], name: str, rows: Sequence[Row], trained_format: str
) -> list[str]:
    """Limits that were met, answers without a verdict, and a policy that does not fit."""
    found = []
    if cut := sum(row["answer_cut"] for row in rows):
        found.append(
            f"{cut} of {len(rows)} answers came to budget.max_answer_tokens, or to the end of the "
            "context, before their end; raise it (null: what the context holds)"
        )
    if truncated := sum(row["end_reason"] == TRUNCATED for row in rows):
        found.append(
            f"{truncated} of {len(rows)} traces ended with the model's context, not by budget"
        )
    if loops := sum(row["end_reason"] == LOOP for row in rows):
        found.append(
            f"{loops} of {len(rows)} traces were closed while they repeated themselves word for "
            "word; budget.loop_check_every_tokens ends a loop where it is found"
        )
    if ungraded := [row["ungraded_reason"] for row in rows if row["verdict"] == UNGRADED]:
        found.append(f"{len(ungraded)} of {len(rows)} answers are ungraded: {ungraded[0]}")
    tells = any(point.user_turn("?") != "?" for point in chosen)
    idle = all(point.label() in ("natural", "direct") for point in chosen)
    if tells and chosen[0].train_format not in ("plain", trained_format):
        found.append(
            f"budget={name} tells its limits in a format that the model was not trained in; set "
            f"train.format={chosen[0].train_format} (+sweep=budget_policy does)"
        )
    elif rows and not tells and not idle and not any(map(_acted, rows)):
        lengths = sorted(row["thinking_tokens"] for row in rows)
        found.append(
            f"budget={name} never acted: in none of the traces was a token forced, thinking ended "
            f"or a sample drawn again; they have {lengths[len(lengths) // 2]} thinking tokens "
            f"(median; the longest {lengths[-1]}), to which its settings must fit"
        )
    return found


def _acted(row: Row) -> bool:
    forced = any(row["forced_mask"][: row["thinking_tokens"]])
    several = row["num_tries"] > 1 or row["num_traces"] > 1
    return forced or row["end_reason"] in (CUT, LOOP) or row["num_waits"] > 0 or several
