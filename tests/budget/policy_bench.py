"""A chat format without a tokenizer, and a way to run policies over the scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace, rollout
from s1x.engine.engine import LiveEngine, Sampling
from s1x.engine.scripted import ScriptedEngine, random_tokens
from s1x.model.chat_format import Chat, ChatFormat, TokenIds
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

NEWLINE = 0
WAIT = 1
CUE = 2
END_OF_TURN = 3
ANSWER = 4


def encode(text: str) -> TokenIds:
    """Known words are one token (or as many as they have letters), all else a token a letter."""
    known = {"Wait": (WAIT,), "Hmm wait": (5, 6, WAIT), "\n": (NEWLINE,), "": ()}
    return known.get(text, tuple(100 + ord(letter) for letter in text))


def decode(ids: Sequence[int]) -> str:
    """The inverse, near enough: a newline is a newline, all else is a bracketed number."""
    return "".join("\n" if i == NEWLINE else f"<{i}>" for i in ids)


def chat_format(thinking_end: TokenIds = (7,), context_tokens: int = 200) -> ChatFormat:
    """A format whose answer begins as its thinking ends."""
    return ChatFormat(
        context_tokens=context_tokens,
        thinking_stops=(thinking_end, (END_OF_TURN,)),
        answer_stops=((END_OF_TURN,),),
        answer_start=(*thinking_end, ANSWER),
        cue=(CUE,),
        newline=(NEWLINE,),
        encode=encode,
        decode=decode,
        holding=lambda text: (encode(text),),
    )


@dataclass
class Bench:
    """Runs policies over one engine and one store in memory, and keeps both for inspection."""

    engine: LiveEngine
    streams: Streams

    @classmethod
    def of(cls, engine: LiveEngine, sampling: Sampling | None = None) -> Bench:
        """A bench with an empty store."""
        return cls(engine, Streams(engine, TraceStore(None, "m"), sampling or Sampling()))

    @classmethod
    def random(cls, vocabulary_size: int = 12, seed: int = 0) -> Bench:
        """A bench over random streams."""
        return cls.of(ScriptedEngine(random_tokens(vocabulary_size, seed)))

    def run(self, policies: Sequence[Policy], chat: Chat, problem: str = "p") -> list[Trace]:
        """All policies at once over one prompt; with confidence where one looks at it."""
        if any(p.reads_confidence for p in policies) and self.streams.end_ids is None:
            store = TraceStore(None, "m", end_ids=chat.format.end_ids)
            self.streams = Streams(self.engine, store, self.streams.sampling)

        async def all_() -> list[Trace]:
            readers = [self.streams.of(problem, policy.temperature(0.0)) for policy in policies]
            return await asyncio.gather(
                *(rollout(p, chat, r) for p, r in zip(policies, readers, strict=True))
            )

        return asyncio.run(all_())
