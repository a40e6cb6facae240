"""Curves measured point by point: jobs that differ only in the budget become one curve."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from s1x.errors import UserError
from s1x.option import option_class
from s1x.report.inputs import Run, Series


def join_points(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Joins the one-point curves of runs that differ only in the dials of their policy.

    A joined curve belongs to the first of its runs; runs that keep no curve of their own vanish.
    Points with equal labels are different things (two seeds, two wait strings) and stay apart.
    """
    groups: dict[str, list[tuple[int, Series]]] = {}
    for index, run in enumerate(runs):
        for series in run.series:
            if len(series.cells) == 1 and not series.direct:
                groups.setdefault(_sameness(run, series), []).append((index, series))
    gone: set[int] = set()
    added: dict[int, list[Series]] = {}
    for members in groups.values():
        labels = {series.cells[0].setting for _, series in members}
        if len(members) > 1 and len(labels) == len(members):
            gone |= {id(series) for _, series in members}
            first = members[0][0]
            joined = _joined(runs[first].label, [series for _, series in members])
            added.setdefault(first, []).append(joined)
    if not added:
        return tuple(runs)
    made = [
        dataclasses.replace(
            run,
            series=tuple(s for s in run.series if id(s) not in gone) + tuple(added.get(i, ())),
        )
        for i, run in enumerate(runs)
    ]
    return tuple(_renamed(_with_own_curves(made)))


def dials(policy: str) -> tuple[str, ...]:
    """The settings that make a policy's curve, as its class declares them."""
    try:
        own = getattr(option_class("budget", policy, "policy"), "dials", ())
    except UserError:  # a class of the user's own, known by its name only
        own = ()
    return tuple(own) or ("max_thinking_tokens", "num_waits", "min_thinking_tokens")


def _sameness(run: Run, series: Series) -> str:
    """Equal for points of one curve: everything but the policy's dials."""
    settings = series.settings(series.cells[0].point) or series.info.get("policy_settings") or {}
    kept = {k: v for k, v in settings.items() if k not in dials(series.policy)}
    parts: list[Any] = [series.cells[0].key, series.info.get("model_fingerprint"), kept]
    parts += [series.info.get("seed"), series.info.get("sampling"), run.settings.get("seed")]
    return json.dumps(parts, sort_keys=True, default=str)


def _joined(label: str, members: list[Series]) -> Series:
    """One series, its points in order of tokens, waits last."""
    ordered = sorted(members, key=lambda s: float(s.cells[0].thinking_tokens.mean()))
    cells = [dataclasses.replace(s.cells[0], point=i) for i, s in enumerate(ordered)]
    points = [
        {"point": i, "label": s.cells[0].setting, "settings": s.settings(s.cells[0].point)}
        for i, s in enumerate(ordered)
    ]
    return Series(label, ordered[0].folder, {**ordered[0].info, "points": points}, cells)


def _with_own_curves(runs: list[Run]) -> list[Run]:
    """Without the runs whose curves all stand in a run before (a shared base model)."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for run in runs:
        own = {(s.folder.resolve(), *s.cells[0].key) for s in run.series}
        if own - seen:
            kept.append(run)
        seen |= own
    return kept


def _renamed(runs: list[Run]) -> list[Run]:
    """A single run left over needs no label of one of its jobs."""
    if len(runs) != 1:
        return runs
    label = "all jobs"
    series = tuple(dataclasses.replace(series, run=label) for series in runs[0].series)
    return [dataclasses.replace(runs[0], label=label, series=series)]
