"""What a reader of an evaluation's numbers must know, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from s1x.budget import Policy
from s1x.rows import CUT, TRUNCATED, UNGRADED


def share_cut(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of answers that came to their limit before their end."""
    return sum(row["answer_cut"] for row in rows) / len(rows) if rows else None


def _warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the numbers must know."""
    found = []
    cut = sum(row["answer_cut"] for row in rows)
    if cut:
        found.append(
            f"{cut} of {len(rows)} answers came to budget.max_answer_tokens, or to the end of the "
            "context, before their end; raise it (null: what the context holds)"
        )
    truncated = sum(row["end_reason"] == TRUNCATED for row in rows)
    if truncated:
        found.append(
            f"{truncated} of {len(rows)} traces ended with the model's context, not by budget"
        )
    ungraded = [row["ungraded_reason"] for row in rows if row["verdict"] == UNGRADED]
    if ungraded:
        found.append(f"{len(ungraded)} of {len(rows)} answers are ungraded: {ungraded[0]}")
    return found


def findings(
    chosen: Sequence[Policy], name: str, rows: Sequence[Mapping[str, Any]], trained_format: str
) -> list[str]:
    """Limits that were met, answers without a verdict, and a policy that does not fit."""
    return _warnings(rows) + _policy_warnings(chosen, name, rows, trained_format)


def _policy_warnings(
    chosen: Sequence[Policy], name: str, rows: Sequence[Mapping[str, Any]], trained_format: str
) -> list[str]:
    """What is odd about a policy on these traces: it never did anything, or was not understood."""
    tells = any(point.user_turn("?") != "?" for point in chosen)
    if tells and chosen[0].train_format not in ("plain", trained_format):
        return [
            f"budget={name} tells its limits in a format that the model was not trained in; set "
            f"train.format={chosen[0].train_format} (+sweep=budget_policy does)"
        ]
    if tells or not rows or all(point.label() in ("natural", "direct") for point in chosen):
        return []
    if any(_acted(row) for row in rows):
        return []
    lengths = sorted(row["thinking_tokens"] for row in rows)
    return [
        f"budget={name} never acted: in none of the traces was a token forced, thinking ended or a "
        f"sample drawn again; they have {lengths[len(lengths) // 2]} thinking tokens (median; the "
        f"longest {lengths[-1]}), to which its settings must fit"
    ]


def _acted(row: Mapping[str, Any]) -> bool:
    forced = any(row["forced_mask"][: row["thinking_tokens"]])
    return forced or row["end_reason"] == CUT or row["num_waits"] > 0 or row["num_tries"] > 1
