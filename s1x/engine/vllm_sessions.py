"""vLLM's streaming-input sessions: one sequence continued piece by piece, within bounds.

When a piece ends, vLLM drops the last sampled token, keeps the keys and values, and takes the next
piece with new sampling parameters. A session that is not taken up at once is closed, since it holds
a slot and memory. vLLM 0.32 never takes memory back from a session that waits: where sessions hold
all of it and each needs one block more, none ever gets it. So a session is opened only while all of
them together fit at their full length; what is beyond runs as plain requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from vllm.engine.protocol import StreamingInput
    from vllm.outputs import RequestOutput

Pieces: TypeAlias = "AsyncGenerator[StreamingInput, None]"
Outputs: TypeAlias = "AsyncGenerator[RequestOutput, None]"
#: how long an ended session waits for its next piece
_IDLE_SECONDS = 0.02


@dataclass(eq=False)
class Session:
    """A streaming-input request between or during its pieces.

    Attributes:
        name: vLLM's name of the request.
        rank: the copy of the model that runs it.
        inputs: takes the pieces; None ends it.
        outputs: gives what vLLM writes.
        held: tokens whose keys and values vLLM holds.
        reserved_blocks: of the memory, for its present piece.
    """

    name: str
    rank: int
    inputs: asyncio.Queue[StreamingInput | None]
    outputs: Outputs
    held: list[int]
    reserved_blocks: int = 0
    closer: asyncio.TimerHandle | None = None


class Sessions:
    """The open sessions, and the memory that they may need.

    Args:
        start: starts a request under a name, on a copy of the model, from a stream of pieces.
        blocks: of the key-value memory that each copy of the model has.
        block_tokens: tokens of a block.
    """

    def __init__(
        self,
        start: Callable[[Pieces, str, int], Outputs],
        blocks: int,
        block_tokens: int,
    ) -> None:
        self.start, self.blocks, self.block_tokens = start, blocks, block_tokens
        self.running: dict[str, Session] = {}
        self._idle: dict[tuple[int, ...], Session] = {}
        self._reserved: dict[int, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, prefix_ids: tuple[int, ...], num_tokens: int) -> Session | None:
        """The idle session that a prefix continues, with room to come to `num_tokens` in all."""
        for held in self._idle:
            if len(held) < len(prefix_ids) and prefix_ids[: len(held)] == held:
                session = self._idle.pop(held)
                assert session.closer is not None
                session.closer.cancel()
                if self._reserve(session, num_tokens):
                    self.running[session.name] = session
                    return session
                self._close(session)
                return None
        return None

    def open(self, name: str, rank: int, num_tokens: int) -> Session | None:
        """A new session; None where the memory might not do for all of them."""
        inputs: asyncio.Queue[StreamingInput | None] = asyncio.Queue()

        async def pieces() -> Pieces:
            while (piece := await inputs.get()) is not None:
                yield piece

        blocks = self._blocks_of(num_tokens)
        if self._reserved.get(rank, 0) + blocks > self.blocks:
            return None
        session = Session(name, rank, inputs, self.start(pieces(), name, rank), [])
        self._reserve(session, num_tokens)
        self.running[name] = session
        return session

    def _blocks_of(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_tokens) + 1

    def _reserve(self, session: Session, num_tokens: int) -> bool:
        blocks = self._blocks_of(num_tokens) if num_tokens else 0
        reserved = self._reserved.get(session.rank, 0) - session.reserved_blocks + blocks
        if reserved > self.blocks:
            return False
        self._reserved[session.rank], session.reserved_blocks = reserved, blocks
        return True

    def rest(self, session: Session) -> None:
        """A piece has ended: the session waits a moment for its next one."""
        del self.running[session.name]
        key = tuple(session.held)
        if key in self._idle:
            self._close(session)
            return
        self._idle[key] = session
        loop = asyncio.get_running_loop()
        session.closer = loop.call_later(_IDLE_SECONDS, self._give_up, key)

    def end(self, session: Session) -> None:
        """A piece has ended and nothing will follow."""
        del self.running[session.name]
        self._close(session)

    async def drop(self, session: Session) -> None:
        """Ends a session in the middle of a piece."""
        del self.running[session.name]
        await session.outputs.aclose()
        self._reserve(session, 0)

    def close_idle(self) -> None:
        """Closes those that wait."""
        for key in list(self._idle):
            self._give_up(key)

    def _give_up(self, key: tuple[int, ...]) -> None:
        session = self._idle.pop(key, None)
        if session is not None:
            self._close(session)

    def _close(self, session: Session) -> None:
        async def end() -> None:
            session.inputs.put_nowait(None)
            with contextlib.suppress(Exception):  # a dead vLLM tells those who wait for tokens
                async for _ in session.outputs:
                    pass
            self._reserve(session, 0)

        task = asyncio.get_running_loop().create_task(end())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
