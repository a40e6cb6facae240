"""Answering beside an engine: prompts, streams and trace store of one model and one curve."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from s1x.artifact import fingerprint
from s1x.benchmark.grader import Grader
from s1x.benchmark.problem import Problem
from s1x.budget.policy import Policy
from s1x.engine.engine import LiveEngine, Sampling
from s1x.errors import SettingError
from s1x.evaluate.schedule import Answered, Searching, answer
from s1x.model.architecture import Architecture
from s1x.model.chat import direct_prompt_ids, thinking_prompt_ids
from s1x.model.chat_format import Chat, ChatFormat, TokenIds
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.scorer.none import NoScorer
from s1x.scorer.scorer import LiveScorer, Remembered, Scorer
from s1x.search.search import Search
from s1x.traces.store import TraceStore
from s1x.traces.streams import StreamCounts, Streams
from s1x.workers.workers import Bench, Done, Work

THINKING_FORMAT, DIRECT_FORMAT = "thinking", "direct"


class Item(NamedTuple):
    """One sample of one problem (by index), under every point of the curve."""

    problem: int
    sample: int


class Answers(NamedTuple):
    """The rows to be of an item, and what they took since the last one."""

    answered: list[Answered]
    counts: StreamCounts


@dataclass(frozen=True)
class Answering(Work[Item, Answers]):
    """A model answers problems under every point of a curve.

    Attributes:
        model, prompt_format: what is asked, and with which prompts (thinking or direct).
        points: policies of the curve, the smallest budget first.
        problems: of the benchmark.
        samples_per_problem: of each.
        sampling, seed: how tokens are drawn.
        store_folder, journal: of the trace store, and its files'; None: nothing is kept.
        confidence: whether how sure the model was of its tokens is kept with them.
        grader, scorer: what policies over many traces compare answers and score traces by.
    """

    model: Model
    prompt_format: str
    points: Sequence[Policy]
    problems: Sequence[Problem]
    samples_per_problem: int
    sampling: Sampling
    seed: int
    store_folder: Path | None
    grader: Grader
    scorer: Scorer = NoScorer()
    confidence: bool = False
    journal: str = "auto"

    def open(self, live: LiveEngine) -> AnswerBench:
        return AnswerBench(self, live)


class AnswerBench(Bench[Item, Answers]):
    """See `Answering`; it has a store file of its own."""

    def __init__(self, work: Answering, live: LiveEngine) -> None:
        model = work.model
        self.work, self.prompts = work, Prompts(model, work.prompt_format)
        end_ids = self.prompts.format.end_ids if work.confidence else None
        self.store = TraceStore(
            work.store_folder,
            store_key(model, live, end_ids),
            store_text(model, live),
            self.prompts.num_ids,
            end_ids=end_ids,
            journal=work.journal,
        )
        self.streams = Streams(live, self.store, work.sampling, work.seed)
        self.told = StreamCounts()
        self.searching = self._searching()
        self.checked: asyncio.Task[None] | None = None

    def _searching(self) -> Searching | None:
        """For the curve's searches, if it has any; a scorer is loaded where there is one."""
        work = self.work
        searches = [point for point in work.points if isinstance(point, Search)]
        if not searches:
            return None
        scorer: LiveScorer | None = None
        if any(point.needs_scorer and point.num_traces > 1 for point in searches):
            scorer = work.scorer.start(work.model)
            if work.store_folder is not None and not scorer.reads_confidence:
                scorer = Remembered(scorer, work.store_folder, work.journal)
        numbers = work.model.architecture
        parameters = Architecture.of(numbers).parameters if numbers else None
        return Searching(work.grader, scorer, parameters)

    async def do(self, item: Item) -> Done[Answers]:
        work, streams = self.work, self.streams
        if self.searching is not None and self.searching.scorer is not None:
            self.checked = self.checked or asyncio.ensure_future(self.searching.scorer.check())
            await self.checked
        problem = work.problems[item.problem]
        chats = [self.prompts.chat(point, problem) for point in work.points]
        answered = await answer(
            problem,
            item.sample,
            work.points,
            chats,
            streams,
            work.samples_per_problem,
            self.searching,
        )
        counts = streams.counts.since(self.told)
        self.told = dataclasses.replace(streams.counts)
        length = max(len(row.trace.token_ids) for row in answered)
        return Done(Answers(answered, counts), length, counts.generated_tokens)

    def close(self) -> Sequence[str]:
        if self.searching is not None and self.searching.scorer is not None:
            self.searching.scorer.close()
        self.store.close()
        return self.store.notes()


class Prompts:
    """Prompts of a model in one format, each text tokenized once."""

    def __init__(self, model: Model, prompt_format: str) -> None:
        if prompt_format not in (THINKING_FORMAT, DIRECT_FORMAT):
            raise SettingError("prompt_format", "thinking or direct", prompt_format)
        self.model, self.prompt_format = model, prompt_format
        self.tokenizer = load_tokenizer(model)
        self.num_ids = 1 + max(self.tokenizer.get_vocab().values())
        self.format = ChatFormat.of(model, self.tokenizer)
        if prompt_format == DIRECT_FORMAT and model.direct_prompt is not None:
            self.format = self.format.plain_completion(self.tokenizer.all_special_ids)
        self._chats: dict[str, Chat] = {}

    def chat(self, policy: Policy, problem: Problem) -> Chat:
        """The prompt of a problem as the policy words it."""
        text = policy.user_turn(problem.question)
        if text not in self._chats:
            thinking = self.prompt_format == THINKING_FORMAT
            ids_of = thinking_prompt_ids if thinking else direct_prompt_ids
            self._chats[text] = Chat(self.format, tuple(ids_of(self.tokenizer, self.model, text)))
        return self._chats[text]


def store_key(model: Model, live: LiveEngine, end_ids: TokenIds | None = None) -> str:
    """The trace store's folder of a model: its weights and all that the numbers depend on.

    Streams with confidence stand apart, so that in their folder every token has it.
    """
    # delimiters and limits are the reader's affair: the same weights write the same tokens
    plain = Model(name="", path=model.path, revision=model.revision, gguf_file=model.gguf_file)
    identity = dict(live.identity)
    if "tensor_parallel_size" in identity:  # whoever makes copies, each writes the same
        identity["num_devices"] = identity["tensor_parallel_size"]
    parts = {"weights": plain.fingerprint(), "engine": identity}
    return fingerprint(parts if end_ids is None else {**parts, "confidence": end_ids})


def store_text(model: Model, live: LiveEngine) -> dict[str, object]:
    """What stands beside the streams: for people, and for `s1x.evaluate.store`."""
    names = ("path", "revision", "gguf_file", "dtype", "context_tokens")
    settings = {name: value for name, value in dataclasses.asdict(model).items() if name in names}
    return {"name": model.name, "path": model.path, "engine": live.identity, "settings": settings}
