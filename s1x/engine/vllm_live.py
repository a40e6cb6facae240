"""The vLLM engine: asynchronous requests with prefix caching, segments as streaming sessions.

A sequence that may go on (thinking) runs as a streaming-input session where there is memory for one
(`s1x.engine.vllm_sessions`), which is just what "drop the delimiter, put in Wait" needs. All else
is plain requests, which find their prefix in vLLM's cache. Where vLLM writes nothing for a long
time, sessions are given up; where that does not help, the run ends and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import StreamingInput
from vllm.inputs import TokensInput, tokens_input
from vllm.logprobs import FlatLogprobs
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from s1x.console import say
from s1x.engine.draw import sampleable_ids
from s1x.engine.engine import Identity, LiveEngine, OnTokens, Request, Writing
from s1x.engine.vllm import Vllm
from s1x.engine.vllm_sessions import Outputs, Pieces, Session, Sessions
from s1x.errors import UserError
from s1x.model.load import load_config, load_tokenizer
from s1x.model.model import Model
from s1x.traces.confidence import NUM_LIKELIEST, Confidence, confidence_rows

#: what vLLM's logit bias can take off a logit, and the ids that it takes at most on a GPU
_BANNED, _MAX_BIASED = -100.0, 1024
#: tokens that come in one piece where nobody can need them singly: each piece wakes this process,
#: which may share a core with vLLM's scheduler
_PIECE_TOKENS = 16
#: tokens of one request whose log-probabilities are asked for: vLLM keeps all of them until its end
_CONFIDENCE_TOKENS = 4096
#: seconds that vLLM's processes get to clean up after themselves
_CLOSING_SECONDS = 60.0


def start(settings: Vllm, model: Model) -> LiveEngine:
    """Loads the model.

    Raises:
        UserError: vLLM refuses the model or an argument.
    """
    on_cpu = current_platform.is_cpu()
    log = _log_file(settings.log_folder)
    try:
        with _output_to(log):
            arguments = AsyncEngineArgs(**_arguments(settings, model, on_cpu))
            engine = AsyncLLM.from_engine_args(arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"vLLM cannot start {model.path} ({_reason(error)}); "
            f"see its messages {_where(log)}, or use engine=transformers"
        ) from error
    devices = settings.num_gpus
    identity: Identity = {
        "engine": "vllm",
        "device": "cpu" if on_cpu else "cuda",
        "dtype": settings.dtype or model.dtype,
        "num_devices": devices,
        "tensor_parallel_size": settings.num_shards,
    }
    return VllmEngine(engine, _useless_ids(model), settings, identity, log)


def _log_file(log_folder: str | None) -> Path | None:
    if log_folder is None:
        return None
    folder = Path(log_folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"engine.log_folder {folder} cannot be written ({error.strerror}); "
            "choose another folder, or null for the console"
        ) from error
    return folder / f"vllm-{socket.gethostname()}-{os.getpid()}.log"


def _arguments(settings: Vllm, model: Model, on_cpu: bool) -> dict[str, Any]:
    block_tokens = settings.block_tokens or (32 if on_cpu else None)
    return {
        "model": model.source(),
        "revision": model.revision,
        "dtype": settings.dtype or model.dtype,
        "max_model_len": model.context_tokens,
        "max_num_seqs": settings.max_num_seqs,
        "tensor_parallel_size": settings.num_shards,
        "data_parallel_size": settings.num_copies,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # no sampling defaults or EOS ids of the model's own
        "enforce_eager": settings.enforce_eager,
        "disable_log_stats": True,
        "seed": 0,
        **({"block_size": block_tokens} if block_tokens else {}),
        **settings.extra_arguments,
    }


class VllmEngine(LiveEngine):
    """See the module.

    Args:
        engine: vLLM's `AsyncLLM`.
        useless_ids: ids of the output layer that no token stands behind.
        settings: of the option.
        identity: see `LiveEngine`.
        log: file of vLLM's messages; None: the console.
    """

    keeps_samples = False

    def __init__(
        self,
        engine: AsyncLLM,
        useless_ids: Sequence[int],
        settings: Vllm,
        identity: Identity,
        log: Path | None = None,
    ) -> None:
        super().__init__()
        self.engine, self.settings, self.identity, self.log = engine, settings, identity, log
        self.max_sequences = settings.max_num_seqs * settings.num_copies
        self._useless = frozenset(useless_ids)
        self._max_biased = _MAX_BIASED if identity.get("device") == "cuda" else None
        cache = engine.vllm_config.cache_config
        blocks = (cache.num_gpu_blocks or 0) // settings.num_copies - 1
        self.sessions = Sessions(self._start_session, blocks, cache.block_size)
        self._sessions_on = settings.sessions
        self._plain_names: set[str] = set()
        self._names = itertools.count()
        self._watch: asyncio.Task[None] | None = None
        self._wrote_at = 0.0
        self._stalled = False

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        self.usage.calls += 1
        self.usage.prompt_tokens += len(request.prefix_ids)
        self._look_after()
        try:
            await self._generate(request, on_tokens)
        except UserError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith("vllm."):
                raise
            raise UserError(
                f"vLLM has stopped working ({_reason(error)}), as when memory runs out; see its "
                f"messages {_where(self.log)}. What was written is kept: the same command goes on"
            ) from error

    async def _generate(self, request: Request, on_tokens: OnTokens) -> None:
        work = Writing(request, on_tokens)
        if request.ban_first:
            await self._plain(work, num_tokens=1)
        if not work.is_done:
            session = self._session_for(work.rest())
            if session is not None:
                await self._in_session(session, work)
        while not work.is_done:
            await self._plain(work, _CONFIDENCE_TOKENS if request.on_confidence else None)

    async def _plain(self, work: Writing, num_tokens: int | None = None) -> None:
        request, name = work.rest(), self._name()
        most = min(num_tokens or request.max_tokens, request.max_tokens)
        request = replace(request, max_tokens=most)
        rank = self._rank(request)
        outputs = self.engine.generate(
            _tokens(request.prefix_ids),
            self._parameters(request),
            name,
            data_parallel_rank=self._placed(rank),
        )
        self._plain_names.add(name)
        try:
            async for output in outputs:
                self._take(work, output)
                if work.is_done:
                    break
                if output.outputs[0].finish_reason == "abort" and self._stalled:
                    raise UserError(
                        f"vLLM has written no token for {self.settings.stall_seconds:g} seconds "
                        "(engine.stall_seconds), in plain requests too; see its messages "
                        f"{_where(self.log)}. What was written is kept: the same command goes on"
                    )
        finally:
            self._plain_names.discard(name)
            await outputs.aclose()

    # -- sessions ---------------------------------------------------------------------------------

    def _session_for(self, request: Request) -> Session | None:
        """A session that may take the request, if it is one for a session."""
        # a session's log-probabilities would be those that its first piece asked for
        if not (self._sessions_on and request.sampling.greedy) or request.on_confidence:
            return None
        num_tokens = len(request.prefix_ids) + request.max_tokens
        session = self.sessions.take(request.prefix_ids, num_tokens)
        if session is None and request.may_go_on:
            session = self.sessions.open(self._name(), self._rank(request), num_tokens)
        return session

    async def _in_session(self, session: Session, work: Writing) -> None:
        request = work.rest()
        new = request.prefix_ids[len(session.held) :]
        session.inputs.put_nowait(StreamingInput(_tokens(new), self._parameters(request)))
        session.held += new
        reason = None
        try:
            async for output in session.outputs:
                session.held += output.outputs[0].token_ids
                self._take(work, output)
                reason = output.outputs[0].finish_reason
                if reason is not None or work.is_done:
                    break
        finally:
            if reason in (None, "abort"):
                await self.sessions.drop(session)
            else:
                session.held.pop()  # vLLM drops the last sampled token of a piece
                if request.may_go_on:
                    self.sessions.rest(session)
                else:
                    self.sessions.end(session)

    def _start_session(self, pieces: Pieces, name: str, rank: int) -> Outputs:
        delta = RequestOutputKind.DELTA
        parameters = SamplingParams(max_tokens=1, detokenize=False, output_kind=delta)
        return self.engine.generate(pieces, parameters, name, data_parallel_rank=self._placed(rank))

    # -- when nothing comes -----------------------------------------------------------------------

    def _look_after(self) -> None:
        """Starts the watchdog, if it does not run."""
        if self._watch is None or self._watch.done():
            self._wrote_at = time.monotonic()
            self._watch = asyncio.get_running_loop().create_task(self._watchdog())

    async def _watchdog(self) -> None:
        """Gives sessions up, and then the run, when no token comes while requests are open."""
        limit = self.settings.stall_seconds
        await asyncio.sleep(0)
        while self._plain_names or self.sessions.running:
            await asyncio.sleep(min(limit / 4, 1.0))
            if time.monotonic() - self._wrote_at < limit:
                continue
            self._wrote_at = time.monotonic()
            if self._sessions_on:
                self._sessions_on = False
                say(
                    f"vLLM has written no token for {limit:g} seconds while "
                    f"{len(self.sessions.running)} sessions are open; going on without sessions "
                    "(engine.sessions=false does so from the start)"
                )
                self.sessions.close_idle()
                await self.engine.abort(list(self.sessions.running))
            else:
                self._stalled = True
                await self.engine.abort(list(self._plain_names))

    # -- small things -----------------------------------------------------------------------------

    def _take(self, work: Writing, output: RequestOutput) -> None:
        ids = output.outputs[0].token_ids
        if not ids:
            return
        self._wrote_at = time.monotonic()
        self.usage.generated_tokens += len(ids)
        if not self._useless.isdisjoint(ids):
            raise UserError(
                f"the model wrote an id that no token stands behind; it has {len(self._useless)} "
                f"of them, and vLLM can bar {_MAX_BIASED} at most: use engine=transformers"
            )
        if not work.written and work.request.on_cached is not None:
            work.request.on_cached(output.num_cached_tokens or 0)
        asked = work.request.on_confidence is not None
        work.take(ids, _confidence(output, work.request.end_ids) if asked else None)

    def _rank(self, request: Request) -> int:
        """The copy of the model that takes the request's group, and so has its prefixes."""
        return zlib.crc32(request.group.encode()) % self.settings.num_copies

    def _placed(self, rank: int) -> int | None:
        return rank if self.settings.num_copies > 1 else None

    def _bias(self, banned: Sequence[int]) -> dict[int, float] | None:
        ids = self._useless.union(banned)
        if self._max_biased is not None and len(ids) > self._max_biased:
            ids = frozenset(banned)
        return dict.fromkeys(ids, _BANNED) or None

    def _parameters(self, request: Request) -> SamplingParams:
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
            logit_bias=self._bias(request.ban_first),
            output_kind=RequestOutputKind.DELTA,
            stream_interval=1 if singly else _PIECE_TOKENS,
            skip_clone=True,
            logprobs=NUM_LIKELIEST if request.on_confidence else None,
            flat_logprobs=request.on_confidence is not None,
        )

    def _name(self) -> str:
        return f"s1x-{next(self._names)}"

    def close(self) -> None:
        """Ends vLLM's processes, and gives them the time to free their shared memory."""
        self.engine.shutdown(timeout=_CLOSING_SECONDS)
        # its destructor would do so again, when the interpreter has taken its modules away
        self.engine.shutdown = lambda timeout=None: None  # type: ignore[method-assign]


def _confidence(output: RequestOutput, end_ids: Sequence[int]) -> Confidence:
    """(tokens, 4) of a piece: vLLM gives each token's log-probability, then the likeliest ones'."""
    flat, number = output.outputs[0].logprobs, len(output.outputs[0].token_ids)
    assert isinstance(flat, FlatLogprobs)
    assert len(flat) == number
    log_probs = np.array(flat.logprobs).reshape(number, -1)
    ids = np.array(flat.token_ids).reshape(number, -1)
    return confidence_rows(log_probs[:, 0], log_probs[:, 1:], ids[:, 1:], end_ids)


@contextlib.contextmanager
def _output_to(log: Path | None) -> Iterator[None]:
    """Sends what this process and those that it starts write on the console to a file."""
    if log is None:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        for number, _ in kept:
            os.dup2(file, number)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(file)


def _where(log: Path | None) -> str:
    return f"in {log}" if log is not None else "above"


def _tokens(ids: Sequence[int]) -> TokensInput:
    return tokens_input(prompt_token_ids=list(ids))


def _useless_ids(model: Model) -> list[int]:
    config = load_config(model)
    allowed = sampleable_ids(load_tokenizer(model), config.vocab_size)
    useless: list[int] = (~allowed).nonzero()[:, 0].tolist()
    return useless


def _reason(error: BaseException) -> str:
    """Why vLLM did not start or go on, in a line."""
    if type(error).__name__ == "EngineDeadError":
        return "its process has ended"
    text = str(error).strip()
    killed = re.search(r"Failed core proc\(s\):.*: -(\d+)", text)
    if killed:
        return f"its process was killed by signal {killed[1]}, as when memory runs out"
    return (text.splitlines() or [type(error).__name__])[0]
