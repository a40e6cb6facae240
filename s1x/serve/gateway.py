"""Requests at work: who may begin, what the policy does, and what comes out as it is written."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
import traceback
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.policy import Policy
from s1x.budget.rollout import rollout
from s1x.console import say
from s1x.engine.engine import LiveEngine, Sampling
from s1x.engine.live import together
from s1x.errors import UserError
from s1x.model.chat_format import Chat
from s1x.scorer.scorer import LiveScorer
from s1x.search.search import Search
from s1x.serve import tools
from s1x.serve.body import Ask
from s1x.serve.metrics import Metrics
from s1x.serve.policies import Policies
from s1x.serve.prompts import Prompts
from s1x.serve.recorder import Piece, Recorder
from s1x.serve.refusal import Json, RefusedError
from s1x.serve.searches import Searches
from s1x.serve.serve import Serve
from s1x.traces.store import TraceStore
from s1x.traces.streams import ProblemStreams, Streams

#: streams kept in memory: sampled ones are never asked for again
_IDLE_STREAMS = 256
#: first prompt tokens that name a conversation, so that its turns meet the same caches
_GROUP_TOKENS = 32


@dataclass(eq=False)
class Work:
    """One request at work.

    Attributes:
        ask: what is asked.
        policy_name, policy: what controls it.
        chats: its prompts.
        sampling: how its tokens are drawn; the seed is the request's own.
        recorders: its answers, those of one prompt together.
        pieces: what is new, an answer that is whole as its recorder; at last a failure or None.
    """

    ask: Ask
    policy_name: str
    policy: Policy
    chats: list[Chat]
    sampling: Sampling
    recorders: list[Recorder] = field(default_factory=list)
    pieces: asyncio.Queue[Piece | Recorder | Exception | None] = field(
        default_factory=asyncio.Queue
    )
    task: asyncio.Task[None] | None = None

    async def batches(
        self, patience: float | None = None, pause: float = 0.0
    ) -> AsyncIterator[list[Piece | Recorder]]:
        """What is new, whenever something is; pieces of one kind are joined.

        Args:
            patience: seconds of silence after which an empty list comes; None: never.
            pause: seconds between two batches at least.

        Raises:
            UserError: the engine has failed.
        """
        while True:
            try:
                async with asyncio.timeout(patience):
                    item = await self.pieces.get()
            except TimeoutError:
                yield []
                continue
            batch: list[Piece | Recorder] = []
            while item is not None and not isinstance(item, Exception):
                last = batch[-1] if batch else None
                if isinstance(item, Piece) and isinstance(last, Piece) and last.kind == item.kind:
                    batch[-1] = last.joined(item)
                else:
                    batch.append(item)
                if self.pieces.empty():
                    break
                item = self.pieces.get_nowait()
            if batch:
                yield batch
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            await asyncio.sleep(pause)

    def fail(self, reason: str) -> None:
        """Ends it with a sentence in place of its end."""
        self.pieces.put_nowait(RefusedError(reason, status=503))
        self.abandon()

    def abandon(self) -> None:
        """Nobody wants it any more: it costs no further token."""
        if self.task is not None and not self.task.done():
            self.task.cancel()

    def budget(self) -> Json:
        """What was asked, what is applied, and where from; the limit too, if all share one."""
        limits = [self.limit(chat) for chat in self.chats]
        return {
            "policy": self.policy_name,
            "label": self.policy.label(),
            "asked": self.ask.budget.asked,
            "sources": self.ask.budget.sources,
            "applied": vars(self.policy),
            **(limits[0] if limits.count(limits[0]) == len(limits) else {}),
        }

    def limit(self, chat: Chat) -> Json:
        """How long one may think after a prompt, and what says so."""
        room = self.policy.room_tokens(chat)
        most = 0 if isinstance(self.policy, DirectAnswer) else self.policy.limits()[1]
        is_only_told = vars(self.policy).get("force") is False
        if most is not None and most <= room and not is_only_told:
            return {"thinking_limit_tokens": most, "limited_by": "budget"}
        whole = chat.format.context_tokens - len(chat.prompt_ids)
        by = self.ask.limit_field if whole == self.ask.max_tokens else "context"
        return {"thinking_limit_tokens": room, "limited_by": by}

    def chat_of(self, recorder: Recorder) -> Chat:
        """The prompt of an answer."""
        return self.chats[recorder.index // self.ask.num_samples]


class Gateway:
    """One model, its engine and its trace store, for all requests.

    Args:
        engine: of the model.
        prompts: of the model.
        policies: that requests may ask for.
        sampling: of requests that say nothing of it.
        store: remembers what is written.
        settings: how much is taken on.
        scorer: of traces, for policies over many of them; None: there is none.
    """

    def __init__(
        self,
        engine: LiveEngine,
        prompts: Prompts,
        policies: Policies,
        sampling: Sampling,
        store: TraceStore,
        settings: Serve,
        scorer: LiveScorer | None = None,
    ) -> None:
        self.engine, self.prompts, self.policies = engine, prompts, policies
        self.sampling, self.store, self.settings = sampling, store, settings
        self.streams = Streams(engine, store, sampling, max_idle=_IDLE_STREAMS)
        self.searches = Searches(scorer, settings.max_samples)
        self.metrics = Metrics()
        self._slots = asyncio.Semaphore(settings.max_requests)
        self.open: set[Work] = set()
        self._mean_seconds = 1.0

    def served_policies(self) -> dict[str, Policy]:
        """Those that can be asked for: only where there is what they need."""
        presets = self.policies.presets
        return {name: p for name, p in presets.items() if self._serves(p)}

    def _serves(self, policy: Policy) -> bool:
        knows = self.store.end_ids is not None or not policy.reads_confidence
        return knows and self.searches.serves(policy)

    def prepare(self, ask: Ask, begun: float) -> Work:
        """The policy, prompts and answers-to-be of a request that came in then.

        Raises:
            RefusedError: it cannot be served.
        """
        name, policy = self.policies.make(ask.budget)
        if policy.reads_confidence and self.store.end_ids is None:
            raise RefusedError(
                f"budget policy {name} looks at how sure the model is of its tokens, and this "
                "gateway was started without sampling.confidence=true",
                "budget",
            )
        if isinstance(policy, Search):
            self.searches.check(policy, ask)
        sampling = self._sampling(ask, policy)
        chats: list[Chat] = []
        for prompt in ask.prompts:
            chat = self._chat(prompt, policy, ask)
            limited, policy_then = self.prompts.limited(
                chat, policy, ask.max_tokens, ask.limit_field
            )
            chats.append(limited)
        work = Work(ask, name, policy_then, chats, sampling)
        for index in range(len(chats) * ask.num_samples):
            decode = self.prompts.format.decode
            put, holds = work.pieces.put_nowait, tools.BEGIN if ask.tools else ""
            work.recorders.append(Recorder(index, decode, ask.stop, put, begun, holds))
        return work

    def start(self, work: Work) -> None:
        """Puts a request to work, or into the queue.

        Raises:
            RefusedError: the queue is full.
        """
        most = self.settings.max_requests + self.settings.max_queued
        if len(self.open) >= most:
            raise RefusedError(
                f"{most} requests are at work or wait already (serve.max_requests and "
                "serve.max_queued); come again",
                status=429,
                code="rate_limit_exceeded",
                headers={"Retry-After": str(self._patience())},
            )
        self.open.add(work)
        self.metrics.queued.inc()
        work.task = asyncio.get_running_loop().create_task(self._run(work))

    def _patience(self) -> int:
        """Seconds after which there should be a place."""
        ahead = len(self.open) / self.settings.max_requests
        return max(1, min(60, round(self._mean_seconds * ahead)))

    def _chat(self, prompt: object, policy: Policy, ask: Ask) -> Chat:
        if isinstance(prompt, list) and isinstance(prompt[0], dict):
            return self.prompts.conversation(prompt, policy, ask.tools)
        return self.prompts.text(prompt, policy)

    def _sampling(self, ask: Ask, policy: Policy) -> Sampling:
        """How tokens are drawn; without a seed the samples are the request's own."""
        configured = self.sampling.temperature if ask.temperature is None else ask.temperature
        temperature = policy.temperature(configured)
        if ask.num_samples > 1 and temperature <= 0:
            raise RefusedError(
                f"n ({ask.num_samples}) answers at temperature 0 would all be the same; "
                "give a temperature above 0",
                "n",
            )
        top_p = self.sampling.top_p if ask.top_p is None else ask.top_p
        return Sampling(temperature, top_p, secrets.randbits(53) if ask.seed is None else ask.seed)

    async def _run(self, work: Work) -> None:
        ended, waiting, begun = "answered", True, now()
        try:
            async with self._slots:
                waiting, begun = False, now()
                self.metrics.queued.dec()
                self.metrics.working.inc()
                try:
                    # many answers to one leave room for others
                    places = asyncio.Semaphore(max(1, self.engine.max_sequences // 2))
                    await together([self._answer(work, r, places) for r in work.recorders])
                finally:
                    self.metrics.working.dec()
            work.pieces.put_nowait(None)
            self._mean_seconds += 0.1 * (now() - begun - self._mean_seconds)
        except asyncio.CancelledError:
            ended = "abandoned"
            work.pieces.put_nowait(RefusedError("the client has gone", status=499))
            raise
        except Exception as error:
            ended = "failed"
            work.pieces.put_nowait(error)
        finally:
            if waiting:
                self.metrics.queued.dec()
            self.open.discard(work)
            self.metrics.requests.labels(work.policy_name, ended).inc()

    async def _answer(self, work: Work, recorder: Recorder, places: asyncio.Semaphore) -> None:
        ask, chat = work.ask, work.chat_of(recorder)
        reader = self._reader(work.sampling, chat)
        stride = ask.num_samples
        place, sample = divmod(recorder.index, stride)
        async with places:
            if isinstance(work.policy, Search):
                prompt = ask.prompts[place]
                found = await self.searches.run(work.policy, chat, prompt, reader, sample)
                trace = recorder.chose(*found)
            else:
                trace = await rollout(work.policy, chat, reader, sample, stride, recorder)
        recorder.end(trace)
        self.metrics.answered(recorder, 0 if sample else len(chat.prompt_ids))
        work.pieces.put_nowait(recorder)

    def _reader(self, sampling: Sampling, chat: Chat) -> ProblemStreams:
        """The streams of a conversation under a seed; greedy ones are everybody's."""
        head = array("i", chat.prompt_ids[:_GROUP_TOKENS]).tobytes()
        group = hashlib.blake2b(head, digest_size=8).hexdigest()
        if not sampling.greedy:
            group += f" {sampling.seed}"
        return ProblemStreams(self.streams, group, sampling)

    async def stop_after(self, seconds: float) -> None:
        """Gives what is at work some time, and then ends it."""
        await asyncio.sleep(seconds)
        for work in list(self.open):
            work.fail("the gateway is stopping")

    async def keep_committing(self) -> None:
        """Puts on disk what the last tokens of a request left in memory."""
        while True:
            await asyncio.sleep(1.0)
            self.store.commit()


def reported(error: Exception) -> UserError:
    """A failure as clients may see it; the console is told the rest."""
    if isinstance(error, UserError):
        return error
    say("".join(traceback.format_exception(error)))
    return UserError("the gateway has failed with this request; its console says more")


def now() -> float:
    """The clock of all times in replies."""
    return time.perf_counter()
