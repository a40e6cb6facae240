"""Token streams over an engine: remembered, and served once however many ask.

For one model and one sampling seed, the tokens that follow a prefix are a stream. A reader takes
what is there and waits for the rest; readers of one stream that are open at the same time are
served by one request, run to the largest of their limits, and each wakes as soon as it has its own.
Stop sequences only say where a reader stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from s1x.model.chat_format import TokenIds
from s1x.traces.confidence import ROW_BYTES, Confidence, OnConfidence, from_bytes
from s1x.traces.request import (
    LENGTH,
    STOP,
    WATCH,
    Continuation,
    OnTokens,
    Request,
    Sampling,
    Writer,
)
from s1x.traces.store import TraceStore

#: thinking after prefixes up to this length is stored with its prefix, to be checked later
_ORIGIN_TOKENS = 1024


@dataclass
class StreamCounts:
    """Tokens by where they came from.

    Attributes:
        read_tokens: what separate runs without a store would have generated.
        stored_tokens: tokens that earlier runs had left in the store and that were used.
        generated_tokens: tokens the engine wrote.
        requests: requests to the engine.
        prompt_tokens: prefix tokens of those requests.
    """

    read_tokens: int = 0
    stored_tokens: int = 0
    generated_tokens: int = 0
    requests: int = 0
    prompt_tokens: int = 0

    def since(self, before: StreamCounts) -> StreamCounts:
        """The difference to an earlier state."""
        return StreamCounts(**{n: count - vars(before)[n] for n, count in vars(self).items()})

    def add(self, other: StreamCounts) -> None:
        """Adds what others have counted."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass(eq=False)
class _Reader:
    start: int
    end: int
    stop: tuple[TokenIds, ...]
    found: asyncio.Future[Continuation]
    scanned: int
    may_go_on: bool
    on_tokens: OnTokens | None = None
    on_confidence: OnConfidence | None = None
    told: int = 0
    begun: float = 0.0
    first_seconds: float | None = None


@dataclass(eq=False)
class _Stream:
    key: bytes
    request: Request
    tokens: list[int]
    num_stored: int
    num_saved: int
    readers: list[_Reader] = field(default_factory=list)
    unheard: list[_Reader] = field(default_factory=list)
    """Readers none of whose tokens is there yet."""
    task: asyncio.Task[None] | None = None
    used_stored: int = 0
    next_end: int = 0
    last_ids: frozenset[int] = frozenset()
    cached_tokens: int | None = None

    confidences: bytearray | None = None
    """Rows of `s1x.traces.confidence`, one a token; None: not recorded."""

    def note_confidence(self, rows: Confidence) -> bool:
        assert self.confidences is not None
        self.confidences += rows.tobytes()
        return True

    def rows(self, start: int, end: int) -> Confidence | None:
        if self.confidences is None:
            return None
        return from_bytes(bytes(self.confidences[start * ROW_BYTES : end * ROW_BYTES]))

    def piece(
        self, start: int, end: int, reason: str = LENGTH, stop_ids: TokenIds = ()
    ) -> Continuation:
        rows = self.rows(start, end + len(stop_ids))
        return Continuation(tuple(self.tokens[start:end]), reason, stop_ids, confidence=rows)

    def note_cached(self, num_tokens: int) -> None:
        self.cached_tokens = num_tokens


class Streams:
    """All streams of one model under one way of sampling.

    Args:
        engine: writes what is not there yet.
        store: remembers; its key must be the model's and the engine's. Where it keeps how sure the
            model was of each token, the engine is asked for it.
        sampling: temperature and top_p.
        seed: of the run; a stream's own seed follows from it, the problem, the sample and the
            position where it begins.
        max_idle: streams kept in memory when nobody reads them; the store has them all.
    """

    def __init__(
        self,
        engine: Writer,
        store: TraceStore,
        sampling: Sampling,
        seed: int = 0,
        max_idle: int = 20_000,
    ) -> None:
        self.engine, self.store, self.sampling, self.seed = engine, store, sampling, seed
        self.max_idle, self.end_ids = max_idle, store.end_ids
        self.counts = StreamCounts()
        self._streams: OrderedDict[bytes, _Stream] = OrderedDict()

    def of(self, problem: str, temperature: float | None = None) -> ProblemStreams:
        """The streams of one problem, which seed its samples."""
        sampling = self.sampling
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        return ProblemStreams(self, problem, sampling)

    async def read(
        self, key: bytes, request: Request, on_tokens: OnTokens | None = None
    ) -> Continuation:
        """See `Reader.read`; `key` names the stream."""
        stream = self._open(key, request)
        start, end = request.start, request.start + request.max_tokens
        found = asyncio.get_running_loop().create_future()
        stop, may_go_on = request.stop, request.may_go_on
        whole = len(request.prefix_ids) if stream.tokens else 0
        now = time.perf_counter()
        watch = request.on_confidence
        assert watch is None or self.end_ids is not None, "nobody records what is watched"
        reader = _Reader(start, end, stop, found, start, may_go_on, on_tokens, watch, start, now)
        piece = _look(stream, reader)
        if piece is None:
            self._join(stream, reader)
            try:
                piece = await reader.found
            except asyncio.CancelledError:
                _leave(stream, reader)
                raise
            piece = replace(piece, first_seconds=reader.first_seconds)
        read = len(piece.token_ids) + len(piece.stop_ids)
        self._count(stream, start + read, read)
        if on_tokens is None:
            return piece
        return replace(piece, cached_tokens=whole if whole else stream.cached_tokens)

    def _count(self, stream: _Stream, upto: int, read: int) -> None:
        self.counts.read_tokens += read
        used = min(upto, stream.num_stored)
        if used > stream.used_stored:
            self.counts.stored_tokens += used - stream.used_stored
            stream.used_stored = used

    # -- opening ----------------------------------------------------------------------------------

    def _open(self, key: bytes, request: Request) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            kept = self.store.read(key)
            root = replace(request, start=0, stop=(), on_confidence=None)
            number = len(kept.tokens)
            stream = _Stream(key, root, kept.tokens.tolist(), number, number)
            if self.end_ids is not None:
                assert kept.confidences is not None, "the store keeps no confidence"
                stream.confidences = kept.confidences
            self._streams[key] = stream
            if len(self._streams) > self.max_idle:
                self._forget()
        else:
            self._streams.move_to_end(key)
        return stream

    def _forget(self) -> None:
        idle = [k for k, s in self._streams.items() if s.task is None and not s.readers]
        for key in idle[: max(1, self.max_idle // 2)]:
            del self._streams[key]

    # -- writing ----------------------------------------------------------------------------------

    def _join(self, stream: _Stream, reader: _Reader) -> None:
        stream.readers.append(reader)
        if len(stream.tokens) <= reader.start:
            stream.unheard.append(reader)
        _index(stream)
        if stream.task is None:
            stream.task = asyncio.get_running_loop().create_task(self._write(stream))

    async def _write(self, stream: _Stream) -> None:
        task = asyncio.current_task()
        try:
            await asyncio.sleep(0)  # readers that come in the same breath share the first request
            while stream.readers:
                await self._request(stream)
        except Exception as error:  # every reader must hear of it, none may wait for ever
            for reader in stream.readers:
                if not reader.found.done():
                    reader.found.set_exception(error)
            stream.readers.clear()
        finally:
            if stream.task is task:
                stream.task = None
            self._save(stream)

    async def _request(self, stream: _Stream) -> None:
        upto = max(reader.end for reader in stream.readers)
        wishes = {frozenset(reader.stop) for reader in stream.readers}
        shared = frozenset.intersection(*wishes)
        begun = len(stream.tokens)
        request = replace(
            stream.request,
            prefix_ids=(*stream.request.prefix_ids, *stream.tokens),
            max_tokens=upto - begun,
            stop=tuple(sorted(shared)),
            ban_first=stream.request.ban_first if begun == 0 else (),
            on_cached=stream.note_cached if begun == 0 else None,
            may_go_on=any(reader.may_go_on for reader in stream.readers),
            may_end_early=len(wishes) > 1 or any(map(_listens, stream.readers)),
            on_confidence=stream.note_confidence if stream.confidences is not None else None,
            end_ids=tuple(self.end_ids or ()),
        )
        if begun == 0 and request.may_go_on and len(request.prefix_ids) <= _ORIGIN_TOKENS:
            self.store.note_origin(stream.key, _origin(request))
        self.counts.requests += 1
        self.counts.prompt_tokens += len(request.prefix_ids)

        task = stream.task

        def on_tokens(ids: Sequence[int]) -> bool:
            if stream.task is not task:  # nobody waited any more; another may write by now
                return False
            self.counts.generated_tokens += len(ids)
            known = stream.confidences
            number = len(stream.tokens) + len(ids)
            assert known is None or len(known) == ROW_BYTES * number, "confidence is missing"
            if number < stream.next_end and stream.last_ids.isdisjoint(ids):
                stream.tokens += ids
            else:
                for token in ids:
                    stream.tokens.append(token)
                    if len(stream.tokens) >= stream.next_end or token in stream.last_ids:
                        _wake(stream)
            if stream.unheard:
                _note_first(stream)
            if len(stream.tokens) - stream.num_saved >= self.store.save_every_tokens:
                self._save(stream)
            return bool(stream.readers)

        await self.engine.generate(request, on_tokens)
        assert len(stream.tokens) > begun, "an engine must write a token or raise"

    def _save(self, stream: _Stream) -> None:
        if len(stream.tokens) > stream.num_saved:
            begun, rows = stream.num_saved, stream.confidences
            kept = bytes(rows[begun * ROW_BYTES :]) if rows is not None else None
            self.store.append(stream.key, begun, stream.tokens[begun:], kept)
            stream.num_saved = len(stream.tokens)


@dataclass
class ProblemStreams:
    """The streams of one problem: a `Reader`."""

    streams: Streams
    problem: str
    sampling: Sampling
    _last: tuple[Request, bytes] | None = None

    async def read(self, request: Request, on_tokens: OnTokens | None = None) -> Continuation:
        """See `Reader.read`."""
        # a policy reads one stream several times: its name is worked out once
        if self._last is None or not _same_stream(self._last[0], request):
            named = replace(request, sampling=self._sampling(request), group=self.problem)
            self._last = named, stream_key(named)
        last, key = self._last
        return await self.streams.read(
            key, replace(request, sampling=last.sampling, group=self.problem), on_tokens
        )

    def _sampling(self, request: Request) -> Sampling:
        if self.sampling.greedy:
            return self.sampling
        position = len(request.prefix_ids)
        seed = derived_seed(self.streams.seed, self.problem, request.sample, position)
        return replace(self.sampling, seed=seed)


def _same_stream(one: Request, other: Request) -> bool:
    same_way = (one.ban_first, one.sample) == (other.ban_first, other.sample)
    return one.prefix_ids is other.prefix_ids and same_way


def derived_seed(seed: int, problem: str, sample: int, position: int) -> int:
    """A stream's seed (63 bits) from the run's seed, the problem, the sample and the position."""
    text = f"{seed}|{problem}|{sample}|{position}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _origin(request: Request) -> str:
    """What a stream follows from, as text (`s1x.evaluate.store` reads it)."""
    way = request.sampling
    return json.dumps(
        {
            "prefix_ids": request.prefix_ids,
            "ban_first": request.ban_first,
            "sampling": [way.temperature, way.top_p, way.seed],
        }
    )


def stream_key(request: Request) -> bytes:
    """128 bits that name the stream after a request's prefix within one model's store."""
    sampling = request.sampling
    digest = hashlib.blake2b(array("i", request.prefix_ids).tobytes(), digest_size=16)
    way = () if sampling.greedy else (sampling.temperature, sampling.top_p, sampling.seed)
    digest.update(repr((request.ban_first, way)).encode())
    return digest.digest()


def _listens(reader: _Reader) -> bool:
    return reader.on_tokens is not None or reader.on_confidence is not None


def _look(stream: _Stream, reader: _Reader) -> Continuation | None:
    """What the reader gets of the tokens so far, or None where it must wait."""
    tokens, piece = stream.tokens, _found(stream, reader)
    if not _listens(reader):
        return piece
    end = reader.start + len(piece.token_ids) if piece else _certain(tokens, reader)
    # an answer is told token by token, so that it can end at any of them
    singly = not reader.may_go_on or reader.on_confidence is not None
    step = 1 if singly else max(1, end - reader.told)
    while reader.told < end:
        begin, reader.told = reader.told, reader.told + step
        rows = stream.rows(begin, reader.told) if reader.on_confidence else None
        if rows is not None and reader.on_confidence and not reader.on_confidence(rows):
            return stream.piece(reader.start, begin, WATCH, (tokens[begin],))
        if reader.on_tokens and not reader.on_tokens(tokens[begin : reader.told]):
            return stream.piece(reader.start, reader.told, STOP)
    return piece


def _certain(tokens: list[int], reader: _Reader) -> int:
    """Where the tokens end that no stop sequence can begin with."""
    end = min(len(tokens), reader.end)
    for held in range(max(map(len, reader.stop), default=1) - 1, 0, -1):
        tail = tuple(tokens[max(reader.start, end - held) : end])
        if len(tail) == held and any(stop[:held] == tail for stop in reader.stop):
            return end - held
    return end


def _found(stream: _Stream, reader: _Reader) -> Continuation | None:
    tokens = stream.tokens
    last_ids = {stop[-1] for stop in reader.stop}
    upto = min(len(tokens), reader.end)
    nothing = last_ids.isdisjoint(tokens[reader.scanned : upto])
    for i in range(reader.scanned, upto) if not nothing else ():
        if tokens[i] not in last_ids:
            continue
        for stop in sorted(reader.stop, key=len, reverse=True):
            begin = i + 1 - len(stop)
            if begin >= reader.start and tuple(tokens[begin : i + 1]) == stop:
                return stream.piece(reader.start, begin, STOP, stop)
    reader.scanned = upto
    if len(tokens) >= reader.end:
        return stream.piece(reader.start, reader.end)
    return None


def _leave(stream: _Stream, reader: _Reader) -> None:
    """A reader that was cancelled: what nobody waits for is not written on."""
    stream.readers = [other for other in stream.readers if other is not reader]
    stream.unheard = [other for other in stream.unheard if other is not reader]
    _index(stream)
    if not stream.readers and stream.task is not None:
        stream.task.cancel()
        stream.task = None


def _note_first(stream: _Stream) -> None:
    """Readers whose first token has just come note when; their futures wake them later."""
    now = time.perf_counter()
    for reader in stream.unheard:
        if len(stream.tokens) > reader.start:
            reader.first_seconds = now - reader.begun
    stream.unheard = [reader for reader in stream.unheard if reader.first_seconds is None]


def _wake(stream: _Stream) -> None:
    waiting = []
    for reader in stream.readers:
        piece = None if reader.found.done() else _look(stream, reader)
        if piece is not None:
            reader.found.set_result(piece)
        elif not reader.found.done():
            waiting.append(reader)
    stream.readers = waiting
    _index(stream)


def _index(stream: _Stream) -> None:
    ends = (0 if _listens(reader) else reader.end for reader in stream.readers)
    stream.next_end = min(ends, default=1 << 62)
    stream.last_ids = frozenset(stop[-1] for reader in stream.readers for stop in reader.stop)
