"""The vLLM engine: asynchronous requests with prefix caching, segments as streaming sessions.

A sequence that may go on (thinking) runs as a streaming-input session: when a piece of it ends,
vLLM drops the last sampled token, keeps the keys and values, and takes the next piece with new
sampling parameters, which is just what "drop the delimiter, put in Wait" needs. A session that is
not taken up at once is closed, since it holds one of vLLM's slots. Forks and answers are plain
requests, which find their prefix in vLLM's cache.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from s1x.engine.engine import Engine, LiveEngine, OnTokens, Request
from s1x.errors import UserError
from s1x.model.load import refuse_other_weights
from s1x.option import option, setting

if TYPE_CHECKING:
    from s1x.model.model import Model

#: how long an ended session waits for its next piece
_IDLE_SECONDS = 0.02
#: what vLLM's logit bias can take off a logit
_BANNED = -100.0
#: tokens that come in one piece where nobody can need them singly: each piece wakes this process,
#: which may share a core with vLLM's scheduler
_PIECE_TOKENS = 16


@option("engine", "vllm")
@dataclass(frozen=True)
class Vllm(Engine):
    """Runs the model with vLLM, on GPUs or with its CPU build.

    Traces are exact on the CPU; on GPUs they may differ in the last bits with the batch, and
    `batch_invariant` makes them independent of it (CUDA only, slower).
    """

    max_num_seqs: int = setting(256, "sequences in flight at most", at_least=1)
    tensor_parallel_size: int = setting(1, "GPUs that share each layer", at_least=1)
    data_parallel_size: int = setting(1, "copies of the model", at_least=1)
    gpu_memory_utilization: float = setting(0.9, "share of GPU memory used", above=0, at_most=1)
    cpu_cache_gib: int = setting(1, "memory for keys and values, CPU build", at_least=1)
    dtype: str | None = setting(
        None, "of weights; null: the model's own", choices=["bfloat16", "float32"]
    )
    block_tokens: int | None = setting(
        None, "tokens of a block of the prefix cache; null: vLLM's own, 32 on the CPU", at_least=1
    )
    sessions: bool = setting(True, "run segments of one trace as streaming sessions")
    enforce_eager: bool = setting(False, "no compilation: starts faster, runs slower")
    batch_invariant: bool = setting(False, "same tokens whatever is batched (CUDA only)")
    extra_arguments: dict[str, Any] = setting(
        factory=dict, doc="further arguments of vLLM's AsyncEngineArgs, by their names"
    )

    def start(self, model: Model) -> LiveEngine:
        """Loads vLLM and the model (37-75 s on a CPU).

        Raises:
            UserError: vLLM is not installed, or refuses the model or an argument.
        """
        refuse_other_weights(model)
        self._set_environment()
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise UserError(
                f"engine=vllm needs vLLM, which cannot be imported ({error}); "
                "`make setup-gpu` installs it (`make setup-all`: its CPU build), "
                "or use engine=transformers"
            ) from error
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        try:
            arguments = AsyncEngineArgs(**self._arguments(model, on_cpu))
            engine = AsyncLLM.from_engine_args(arguments)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"vLLM cannot start {model.path} ({_reason(error)}); "
                "see its messages above, or use engine=transformers"
            ) from error
        devices = self.tensor_parallel_size * self.data_parallel_size
        identity = {
            "engine": "vllm",
            "device": "cpu" if on_cpu else "cuda",
            "dtype": self.dtype or model.dtype,
            "num_devices": devices,
            "tensor_parallel_size": self.tensor_parallel_size,
        }
        return VllmEngine(engine, _useless_ids(model), self, identity)

    def _set_environment(self) -> None:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(self.cpu_cache_gib))
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if self.batch_invariant:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"

    def _arguments(self, model: Model, on_cpu: bool) -> dict[str, Any]:
        block_tokens = self.block_tokens or (32 if on_cpu else None)
        return {
            "model": model.source(),
            "revision": model.revision,
            "dtype": self.dtype or model.dtype,
            "max_model_len": model.context_tokens,
            "max_num_seqs": self.max_num_seqs,
            "tensor_parallel_size": self.tensor_parallel_size,
            "data_parallel_size": self.data_parallel_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "enable_prefix_caching": True,
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # no sampling defaults or EOS ids of the model's own
            "enforce_eager": self.enforce_eager,
            "disable_log_stats": True,
            "seed": 0,
            **({"block_size": block_tokens} if block_tokens else {}),
            **self.extra_arguments,
        }


@dataclass(eq=False)
class _Session:
    """A streaming-input request between or during its pieces."""

    inputs: asyncio.Queue[Any]
    outputs: AsyncGenerator[Any, None]
    #: tokens whose keys and values vLLM holds
    held: list[int]
    closer: asyncio.TimerHandle | None = None


class VllmEngine(LiveEngine):
    """See the module.

    Args:
        engine: vLLM's `AsyncLLM`.
        useless_ids: ids of the output layer that no token stands behind.
        settings: of the option.
        identity: see `LiveEngine`.
    """

    keeps_samples = False

    def __init__(
        self, engine: Any, useless_ids: Sequence[int], settings: Vllm, identity: dict[str, Any]
    ) -> None:
        super().__init__()
        self.engine, self.settings, self.identity = engine, settings, identity
        self.max_sequences = settings.max_num_seqs
        self._bias = dict.fromkeys(useless_ids, _BANNED)
        self._idle: dict[tuple[int, ...], _Session] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._names = itertools.count()

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """See `LiveEngine.generate`."""
        self.usage.calls += 1
        self.usage.prompt_tokens += len(request.prefix_ids)
        if request.ban_first:
            request, wanted = await self._first(request, on_tokens)
            if not wanted:
                return
        session = None
        if self.settings.sessions and request.sampling.greedy:
            session = self._take(request.prefix_ids)
            if session is None and request.may_go_on:
                session = self._open()
        if session is not None:
            await self._in_session(session, request, on_tokens)
        else:
            await self._plain(request, on_tokens, self._bias)

    async def _first(self, request: Request, on_tokens: OnTokens) -> tuple[Request, bool]:
        """The first token alone, under its own ban; the rest of the request, if one is wanted."""
        got: list[int] = []
        wanted = True

        def keep(ids: Sequence[int]) -> bool:
            nonlocal wanted
            got.extend(ids)
            wanted = on_tokens(ids)
            return wanted

        bias = {**self._bias, **dict.fromkeys(request.ban_first, _BANNED)}
        await self._plain(replace(request, max_tokens=1), keep, bias)
        ended = tuple(got) in request.stop or request.max_tokens == 1
        rest = replace(
            request,
            prefix_ids=(*request.prefix_ids, *got),
            max_tokens=max(1, request.max_tokens - 1),
            ban_first=(),
        )
        return rest, wanted and not ended

    async def _plain(self, request: Request, on_tokens: OnTokens, bias: dict[int, float]) -> None:
        outputs = self.engine.generate(
            _tokens(request.prefix_ids), self._parameters(request, bias), self._name()
        )
        try:
            async for output in outputs:
                if not self._hand_on(output, on_tokens):
                    break
        finally:
            await outputs.aclose()

    # -- sessions ---------------------------------------------------------------------------------

    async def _in_session(self, session: _Session, request: Request, on_tokens: OnTokens) -> None:
        from vllm.engine.protocol import StreamingInput

        new = request.prefix_ids[len(session.held) :]
        parameters = self._parameters(request, self._bias)
        session.inputs.put_nowait(StreamingInput(_tokens(new), parameters))
        session.held += new
        ended = False
        try:
            async for output in session.outputs:
                ids = output.outputs[0].token_ids
                session.held += ids
                wanted = self._hand_on(output, on_tokens)
                ended = output.outputs[0].finish_reason is not None
                if ended or not wanted:
                    break
        finally:
            if ended:
                session.held.pop()  # vLLM drops the last sampled token of a piece
                if request.may_go_on:
                    self._keep(session)
                else:
                    self._close_later(session)
            else:
                await session.outputs.aclose()

    def _open(self) -> _Session:
        """A new session; vLLM hears of it with its first piece."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        inputs: asyncio.Queue[Any] = asyncio.Queue()

        async def pieces() -> AsyncGenerator[Any, None]:
            while (piece := await inputs.get()) is not None:
                yield piece

        parameters = SamplingParams(
            max_tokens=1, detokenize=False, output_kind=RequestOutputKind.DELTA
        )
        outputs = self.engine.generate(pieces(), parameters, self._name())
        return _Session(inputs, outputs, [])

    def _take(self, prefix_ids: tuple[int, ...]) -> _Session | None:
        """An idle session that this prefix continues."""
        for held in self._idle:
            if len(held) < len(prefix_ids) and prefix_ids[: len(held)] == held:
                session = self._idle.pop(held)
                assert session.closer is not None
                session.closer.cancel()
                return session
        return None

    def _keep(self, session: _Session) -> None:
        key = tuple(session.held)
        if key in self._idle:
            self._close_later(session)
            return
        self._idle[key] = session
        loop = asyncio.get_running_loop()
        session.closer = loop.call_later(_IDLE_SECONDS, self._give_up, key)

    def _give_up(self, key: tuple[int, ...]) -> None:
        session = self._idle.pop(key, None)
        if session is not None:
            self._close_later(session)

    def _close_later(self, session: _Session) -> None:
        async def end() -> None:
            session.inputs.put_nowait(None)
            async for _ in session.outputs:
                pass

        task = asyncio.get_running_loop().create_task(end())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- small things -----------------------------------------------------------------------------

    def _hand_on(self, output: Any, on_tokens: OnTokens) -> bool:
        ids = output.outputs[0].token_ids
        self.usage.generated_tokens += len(ids)
        return not ids or on_tokens(ids)

    def _parameters(self, request: Request, bias: dict[int, float]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        singly = request.may_end_early or any(len(stop) > 1 for stop in request.stop)
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=1.0 if sampling.greedy else sampling.top_p,
            seed=None if sampling.greedy else sampling.seed % 2**63,
            max_tokens=request.max_tokens,
            stop_token_ids=[stop[0] for stop in request.stop if len(stop) == 1],
            ignore_eos=True,
            detokenize=False,
            logit_bias=bias or None,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=1 if singly else _PIECE_TOKENS,
            skip_clone=True,
        )

    def _name(self) -> str:
        return f"s1x-{next(self._names)}"

    def close(self) -> None:
        """Ends vLLM's processes."""
        self.engine.shutdown()
        # its destructor would do so again, when the interpreter has taken its modules away
        self.engine.shutdown = lambda: None


def _tokens(ids: Sequence[int]) -> Any:
    from vllm.inputs import tokens_input

    make: Callable[..., Any] = tokens_input
    return make(prompt_token_ids=list(ids))


def _useless_ids(model: Model) -> list[int]:
    from s1x.engine.vocabulary import sampleable_ids
    from s1x.model.load import Source, load_config, load_tokenizer

    config = load_config(Source.of(model))
    allowed = sampleable_ids(load_tokenizer(model), config.vocab_size)
    useless: list[int] = (~allowed).nonzero()[:, 0].tolist()
    return useless


def _reason(error: BaseException) -> str:
    """Why vLLM did not start, in a line."""
    text = str(error).strip()
    killed = re.search(r"Failed core proc\(s\):.*: -(\d+)", text)
    if killed:
        return f"its process was killed by signal {killed[1]}, as when memory runs out"
    return (text.splitlines() or [type(error).__name__])[0]
