"""The points of a curve: which settings of a policy are run, in which order and under what name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from s1x.budget.policy import Policy
from s1x.errors import SettingError, UserError


def points(policy: Policy, curve: Mapping[str, Sequence[Any]] | None) -> list[Policy]:
    """The policies of one curve.

    One dial is turned up after another: the later ones stand at their first value meanwhile, the
    earlier ones at their last ("max 8, max 16, natural, Wait x 1, Wait x 2"). The curve applies
    when all dials of the policy are at their defaults; a dial set by hand means that one point,
    as does None. Dials that the policy does not have are ignored.

    Raises:
        UserError: a dial without values, or a value that the policy does not take.
    """
    if curve is None:
        return [policy]
    values_of = {**policy.dial_values, **curve}
    dials = {dial: list(values_of[dial]) for dial in policy.dials if dial in values_of}
    for dial, values in dials.items():
        if not values:
            raise UserError(f"curve.{dial} has no values; give a list such as [1, 2, 4]")
    if not dials or not _at_defaults(policy):
        return [policy]
    setting = {dial: values[0] for dial, values in dials.items()}
    made: list[Policy] = []
    for dial, values in dials.items():
        for value in values:
            setting[dial] = value
            point = _turned(policy, setting)
            if point not in made:
                made.append(point)
    return made


def _at_defaults(policy: Policy) -> bool:
    fields = {field.name: field.default for field in dataclasses.fields(policy)}
    return all(getattr(policy, dial) == fields[dial] for dial in policy.dials)


def _turned(policy: Policy, setting: Mapping[str, Any]) -> Policy:
    try:
        return dataclasses.replace(policy, **setting)
    except SettingError as error:
        if error.field in setting:
            raise error.under("curve") from None
        points = ", ".join(f"curve.{dial}={value}" for dial, value in setting.items())
        raise UserError(
            f"{error.under('budget')}; it must hold at each point, here {points}"
        ) from None
