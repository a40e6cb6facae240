"""What a scorer is: settings that start something which scores the steps of a trace."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from s1x.annotate.store import AnswerStore
from s1x.engine.chat import Answer
from s1x.model.model import Model
from s1x.option import Option
from s1x.traces.confidence import Confidence


@dataclass(frozen=True)
class Scored:
    """Scores of a trace's steps.

    Attributes:
        scores: one a step, 0 to 1: how likely the trace up to there leads to the right answer.
        num_tokens: that the scorer reads or writes for them, also where they were remembered.
    """

    scores: tuple[float, ...]
    num_tokens: int = 0


class LiveScorer(ABC):
    """A scorer that is running.

    Attributes:
        num_parameters: of its model, to weigh its tokens by; 0: not known (a server's).
        name: what its scores depend on, for the memory of scores.
        reads_confidence: whether it scores by the confidence of the tokens; others get none.
        scores_whole: whether it has one score for a trace as it stands, and none for its steps.
    """

    num_parameters: int = 0
    name: str = ""
    reads_confidence: bool = False
    scores_whole: bool = False

    @abstractmethod
    async def score(
        self,
        question: str,
        ids: Sequence[int],
        ends: Sequence[int],
        confidence: Confidence | None = None,
    ) -> Scored:
        """Scores of the steps that end at `ends`.

        Args:
            question: as the problem words it.
            ids: the model's tokens after the prompt.
            ends: of the steps, exclusive offsets into `ids`, rising; the last may be before the
                trace's end.
            confidence: (ids, 4), see `s1x.traces.confidence`; None: not recorded.

        Raises:
            UserError: the trace does not fit the scorer, or the scorer does not answer.
        """

    async def check(self) -> None:
        """Looks whether it tells a known right trace from a wrong one.

        Raises:
            UserError: it does not.
        """

    def close(self) -> None:
        """Frees memory and connections."""


@dataclass(frozen=True)
class Scorer(Option, ABC):
    """Base of every scorer option; `reads_confidence`: see `LiveScorer`."""

    reads_confidence: ClassVar[bool] = False

    def must_score(self) -> None:
        """Refuses a scorer that gives no scores.

        Raises:
            UserError: it does not.
        """

    @abstractmethod
    def start(self, model: Model) -> LiveScorer:
        """Loads what scores.

        Args:
            model: whose traces are scored; its tokenizer reads them.

        Raises:
            UserError: it cannot be loaded.
        """


class Remembered(LiveScorer):
    """Scores kept by (scorer, question, tokens, steps), so that another run reads them.

    Args:
        scorer: what scores what is not known yet.
        folder, journal: of the trace store, beside which they are kept, and its files'.
    """

    def __init__(self, scorer: LiveScorer, folder: Path, journal: str = "auto") -> None:
        self.scorer, self.store = scorer, AnswerStore(folder / "scores.sqlite", journal)
        self.num_parameters, self.name = scorer.num_parameters, scorer.name
        self.scores_whole = scorer.scores_whole

    async def score(
        self,
        question: str,
        ids: Sequence[int],
        ends: Sequence[int],
        confidence: Confidence | None = None,
    ) -> Scored:
        told = hashlib.sha256(f"{self.name}\0{question}\0".encode("utf-8", "surrogatepass"))
        for numbers in (ids, ends):
            told.update(array("q", [len(numbers), *numbers]).tobytes())
        key = told.hexdigest()[:32]
        if (kept := self.store.get(key)) is not None:
            scores, num_tokens = json.loads(kept.text)
            return Scored(tuple(scores), num_tokens)
        found = await self.scorer.score(question, ids, ends)
        text = json.dumps([found.scores, found.num_tokens])
        self.store.put(key, self.name, Answer(text, None, None, None, None))
        return found

    async def check(self) -> None:
        await self.scorer.check()

    def close(self) -> None:
        self.scorer.close()
        self.store.close()
