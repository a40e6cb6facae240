"""The engine's side of the bargain: one coroutine that continues a sequence of token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.option import Option
from s1x.traces.request import OnTokens, Request, Sampling, ends_with_stop

if TYPE_CHECKING:
    from s1x.model.model import Model

__all__ = ["Engine", "LiveEngine", "OnTokens", "Request", "Sampling", "Usage", "ends_with_stop"]


class LiveEngine(ABC):
    """A loaded model that continues sequences; it batches whatever is in flight.

    Attributes:
        max_sequences: sequences it is worth having in flight.
        identity: what its numbers depend on besides the weights (name, dtype, device), JSON-able;
            streams of engines with different identities are never mixed.
        keeps_samples: whether a sampled stream stays the same when it is cut into requests.
        usage: counts of what was done since the start.
    """

    max_sequences: int
    identity: dict[str, Any]
    keeps_samples: bool

    def __init__(self) -> None:
        self.usage = Usage()

    @abstractmethod
    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """Calls `on_tokens` with each new token or tokens, in order, until the request is done.

        It is done at `max_tokens`, after a stop sequence, or when `on_tokens` returns False.

        Raises:
            UserError: the engine cannot serve it (a server that refuses, a lost connection).
        """

    def close(self) -> None:
        """Frees memory, processes and connections."""
        return None


@dataclass
class Usage:
    """What an engine did.

    Attributes:
        calls: requests served.
        prompt_tokens: prefix tokens of all requests, whether computed or found in a cache.
        computed_prompt_tokens: those that were really computed; None where the engine can't tell.
        generated_tokens: tokens written.
    """

    calls: int = 0
    prompt_tokens: int = 0
    computed_prompt_tokens: int | None = None
    generated_tokens: int = 0

    def since(self, before: Usage) -> Usage:
        """The difference to an earlier state."""
        known = self.computed_prompt_tokens is not None
        computed = (self.computed_prompt_tokens or 0) - (before.computed_prompt_tokens or 0)
        return Usage(
            self.calls - before.calls,
            self.prompt_tokens - before.prompt_tokens,
            computed if known else None,
            self.generated_tokens - before.generated_tokens,
        )


@dataclass(frozen=True)
class Engine(Option):
    """Base of every engine option: settings that can start a `LiveEngine`.

    `is_remote` says that it takes no memory of this machine, so that it can stay beside others.
    """

    is_remote: ClassVar[bool] = False

    def check_roles(self, roles: Sequence[str]) -> None:
        """Refuses settings that cannot serve each of these roles (base, fine_tuned) its own model.

        Raises:
            SettingError: naming the setting.
        """

    def for_role(self, role: str) -> Engine:
        """These settings for the model of one role."""
        return self

    def start(self, model: Model) -> LiveEngine:
        """Loads the model.

        Raises:
            UserError: the model or what the engine needs is missing.
        """
        raise NotImplementedError
