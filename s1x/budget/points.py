"""The points of a curve: which settings of a policy are run, in which order and under what name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from s1x.budget.policy import Policy
from s1x.errors import SettingError, UserError


def points(policy: Policy, curve: Mapping[str, Sequence[object]] | None) -> list[Policy]:
    """The policies of one curve.

    One swept setting is turned up after another: the later ones stand at their first value
    meanwhile, the earlier ones at their last ("max 8, max 16, natural, Wait x 1, Wait x 2"). The
    curve applies when all of them are at their defaults; one set by hand means that one point, as
    does None. Settings that the policy does not sweep are ignored.

    Raises:
        UserError: a swept setting without values, or a value that the policy does not take.
    """
    if curve is None:
        return [policy]
    values_of = {**policy.swept_values, **curve}
    swept = {name: values_of[name] for name in policy.swept_settings if name in values_of}
    for name, values in swept.items():
        if not values:
            raise UserError(f"curve.{name} has no values; give a list such as [1, 2, 4]")
    if not _at_defaults(policy):
        return [policy]
    now = {name: values[0] for name, values in swept.items()}
    made: list[Policy] = []
    for name, values in swept.items():
        for now[name] in values:
            point = _with(policy, now)
            if point not in made:
                made.append(point)
    return made or [policy]


def _at_defaults(policy: Policy) -> bool:
    default = {field.name: field.default for field in dataclasses.fields(policy)}
    return all(getattr(policy, name) == default[name] for name in policy.swept_settings)


def _with(policy: Policy, settings: Mapping[str, object]) -> Policy:
    try:
        return dataclasses.replace(policy, **settings)  # type: ignore[arg-type]
    except SettingError as error:
        if error.field in settings:
            raise error.under("curve") from None
        points = ", ".join(f"curve.{name}={value}" for name, value in settings.items())
        raise UserError(
            f"{error.under('budget')}; it must hold at each point, here {points}"
        ) from None
