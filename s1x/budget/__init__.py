"""Budget policies: how thinking tokens are spent, each a small coroutine over an engine."""

from s1x.budget.points import points
from s1x.budget.policy import Policy

__all__ = ["Policy", "points"]
