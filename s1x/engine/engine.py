"""The engine's side of the bargain: one coroutine that continues a sequence of token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s1x.budget.policy import TokenIds
from s1x.option import Option

if TYPE_CHECKING:
    from s1x.model.model import Model

#: called with each new piece of tokens; False: nobody wants more
OnTokens = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: probability mass kept, in (0, 1].
        seed: of this stream; unused under greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature <= 0


@dataclass(frozen=True)
class Request:
    """A wish for the continuation of a prefix.

    Attributes:
        prefix_ids: everything before the first token wanted.
        max_tokens: 1 or more.
        stop: sequences that end it; they come with the tokens. An engine may leave those of
            several tokens to `on_tokens`.
        sampling: how to draw.
        ban_first: ids that may not come first.
        may_go_on: whether more of the same sequence may be wanted afterwards (thinking), so that
            its state is worth keeping; False for answers.
        may_end_early: whether somebody may have enough before the limit, for other reasons than
            `stop`; tokens should then come one by one, else an engine may hand on several at once.
    """

    prefix_ids: TokenIds
    max_tokens: int
    stop: tuple[TokenIds, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    ban_first: TokenIds = ()
    may_go_on: bool = True
    may_end_early: bool = False


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
    """Base of every engine option: settings that can start a `LiveEngine`."""

    def start(self, model: Model) -> LiveEngine:
        """Loads the model.

        Raises:
            UserError: the model or what the engine needs is missing.
        """
        raise NotImplementedError


def ends_with_stop(ids: Sequence[int], stop: Sequence[TokenIds]) -> bool:
    """Whether the last of `ids` are one of the stop sequences."""
    return any(len(ids) >= len(s) and tuple(ids[-len(s) :]) == s for s in stop)
