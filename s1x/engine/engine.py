"""The engine's side of the bargain: one coroutine that continues a sequence of token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, TypedDict

from s1x.option import Option
from s1x.traces.confidence import Confidence
from s1x.traces.request import OnTokens, Request, Sampling, ends_with_stop

if TYPE_CHECKING:
    from s1x.gpus import Gpu
    from s1x.model.model import Model

__all__ = ["Engine", "Identity", "LiveEngine", "OnTokens", "Request", "Sampling", "Usage"]
__all__ += ["Writing", "ends_with_stop"]


class Identity(TypedDict, total=False):
    """What an engine's numbers depend on besides the weights; it goes into the store's key."""

    engine: str
    model: str
    device: str
    dtype: str
    num_devices: int
    tensor_parallel_size: int


class LiveEngine(ABC):
    """A loaded model that continues sequences; it batches whatever is in flight.

    Attributes:
        max_sequences: sequences it is worth having in flight.
        identity: streams of engines with different identities are never mixed.
        keeps_samples: whether a sampled stream stays the same when it is cut into requests.
        usage: counts of what was done since the start.
    """

    max_sequences: int
    identity: Identity
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


@dataclass(eq=False)
class Writing:
    """A request being served.

    Attributes:
        request, on_tokens: as the engine got them.
        written: the tokens handed on.
        is_wanted: whether anybody wants more.
    """

    request: Request
    on_tokens: OnTokens
    written: list[int] = field(default_factory=list)
    is_wanted: bool = True

    def __post_init__(self) -> None:
        self._last_ids = {stop[-1] for stop in self.request.stop}

    @property
    def is_done(self) -> bool:
        """Whether the request has ended: at its limit, at a stop, or because nobody wants more."""
        written, request = self.written, self.request
        if not self.is_wanted or len(written) >= request.max_tokens:
            return True
        may_end = bool(written) and written[-1] in self._last_ids
        return may_end and ends_with_stop(written, request.stop)

    def take(self, ids: Sequence[int], confidence: Confidence | None = None) -> None:
        """Hands tokens on, and before them how sure the model was, where that is asked for."""
        if self.request.on_confidence is not None:
            assert confidence is not None
            assert len(confidence) == len(ids)
            self.request.on_confidence(confidence)
        self.written += ids
        self.is_wanted = self.on_tokens(ids)

    def rest(self) -> Request:
        """The request for what is not written yet."""
        if not self.written:
            return self.request
        return replace(
            self.request,
            prefix_ids=(*self.request.prefix_ids, *self.written),
            max_tokens=self.request.max_tokens - len(self.written),
            ban_first=(),
        )


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
        computed = self.computed_prompt_tokens
        return Usage(
            self.calls - before.calls,
            self.prompt_tokens - before.prompt_tokens,
            None if computed is None else computed - (before.computed_prompt_tokens or 0),
            self.generated_tokens - before.generated_tokens,
        )


@dataclass(frozen=True)
class Engine(Option, ABC):
    """Base of every engine option: settings that can start a `LiveEngine`.

    `is_remote` says that it takes no memory of this machine, so that it can stay beside others;
    `needs` names the packages that s1x does not bring, and `num_gpus` counts the GPUs it takes.
    """

    is_remote: ClassVar[bool] = False
    needs: ClassVar[Sequence[str]] = ()

    @property
    def num_gpus(self) -> int:
        return 0

    def check_roles(self, roles: Sequence[str]) -> None:
        """Refuses settings that cannot serve each of these roles (base, fine_tuned) its own model.

        Raises:
            SettingError: naming the setting.
        """

    def for_role(self, role: str) -> Engine:
        """These settings for the model of one role."""
        return self

    def fitted(self, model: Model, device: Gpu, is_copied: bool = False) -> Engine:
        """These settings with what they leave open chosen for the model and the kind of device.

        Args:
            model: that will run.
            device: that it will run on.
            is_copied: the workers start as many engines as there is room for.

        Raises:
            UserError: the model does not fit, or its numbers are not known.
        """
        return self

    @abstractmethod
    def start(self, model: Model) -> LiveEngine:
        """Loads the model.

        Raises:
            UserError: the model or what the engine needs is missing.
        """
