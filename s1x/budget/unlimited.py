"""The model decides: its own delimiter ends thinking."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import Policy
from s1x.option import option


@option("budget", "unlimited")
@dataclass(frozen=True)
class Unlimited(Policy):
    """No budget: thinking ends by itself, or with the context (recorded as truncated)."""
