"""A process reward model scores each step of a trace: on transformers, or behind a server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from s1x.engine.client import Client
from s1x.engine.live import run_in_loop
from s1x.engine.replies import MalformedError
from s1x.engine.servers import Patience, Servers
from s1x.errors import SettingError, UserError
from s1x.model.chat import thinking_prompt_ids
from s1x.model.load import load_config, load_tokenizer
from s1x.model.model import Model
from s1x.option import option, setting
from s1x.scorer.conventions import CONVENTIONS, LABELS, MLP, OUTCOME, Marked, marked_text
from s1x.scorer.scorer import LiveScorer, Scored, Scorer
from s1x.traces.confidence import Confidence

if TYPE_CHECKING:
    pass

#: what every reward model of mathematics tells apart
KNOWN = ("What is 2 + 3?", "2 + 3 = 5. The answer is 5.", "2 + 3 = 7. The answer is 7.")


@option("scorer", "process_reward")
@dataclass(frozen=True)
class ProcessReward(Servers, Patience, Scorer):
    """A published process reward model, read in the way of its family.

    With `base_urls` (http://host:8000, without /v1) it stands behind vLLM's own server, asked at
    `/pooling`; else transformers runs it here.
    """

    path: str = setting("???", "of the reward model: folder, hub id or package:<module>/<path>")
    revision: str | None = setting(None, "commit or tag on the hub")
    convention: str = setting("???", "family of the model", choices=[*CONVENTIONS])
    dtype: str = setting("bfloat16", "of weights", choices=["bfloat16", "float32"])
    context_tokens: int = setting(0, "longest text; 0: what config.json says", at_least=0)
    too_long: str = setting(
        "windows",
        "traces beyond the context: windows (question and a run of steps each), or refuse",
        choices=["windows", "refuse"],
    )
    device: str = setting("auto", "auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    known: list[str] = setting(
        factory=lambda: list(KNOWN),
        doc="a question, a right trace and a wrong one that it must tell apart when it starts; "
        "[]: not looked at",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.known) not in (0, 3):
            raise SettingError("known", "a question, a right and a wrong trace", self.known)
        if self.base_urls and CONVENTIONS[self.convention].head not in (MLP, LABELS):
            raise SettingError(
                "convention", "one whose scores are classes, behind a server", self.convention
            )

    def start(self, model: Model) -> LiveScorer:
        own = Model(path=self.path, revision=self.revision, dtype=self.dtype)
        longest = self.context_tokens or int(load_config(own).max_position_embeddings)
        own = replace(own, context_tokens=longest)
        return _LiveProcessReward(self, own, model)


class _LiveProcessReward(LiveScorer):
    def __init__(self, settings: ProcessReward, own: Model, scored: Model) -> None:
        from s1x.scorer.reward_model import Batches, RewardModel  # loads torch

        self.settings, self.own, self.scored = settings, own, scored
        self.convention = CONVENTIONS[settings.convention]
        self.scores_whole = self.convention.head == OUTCOME
        self.tokenizer = load_tokenizer(own)
        self.reader = load_tokenizer(scored)
        self.name = f"{settings.convention} {own.fingerprint()} {settings.too_long}"
        self.client, self.batches = None, None
        if settings.base_urls:
            self.client = Client(settings, settings, settings.path, "scorer")
            return
        net = RewardModel(own, self.convention, self.tokenizer, _device(settings.device))
        self.batches, self.num_parameters = Batches(net), net.num_parameters

    async def score(
        self,
        question: str,
        ids: Sequence[int],
        ends: Sequence[int],
        confidence: Confidence | None = None,
    ) -> Scored:
        if self.convention.layout == "tokens":
            prompt = thinking_prompt_ids(self.reader, self.scored, question)
            marked: list[Marked] = [([*prompt, *ids], [len(prompt) + end - 1 for end in ends])]
            self._refuse_longer(marked[0])
        else:
            texts = [str(self.reader.decode(list(ids[a:b]))) for a, b in pairwise([0, *ends])]
            if self.scores_whole:  # a part of a reply has no score
                marked = [self._marked(question, texts)]
                self._refuse_longer(marked[0])
            else:
                marked = self._windows(question, texts)
        scores = [score for one in marked for score in await self._scores(one)]
        return Scored(tuple(scores), sum(len(ids) for ids, _ in marked))

    def _windows(self, question: str, steps: Sequence[str]) -> list[Marked]:
        """All steps at once, or runs of steps that fit, each half of which the next has again."""
        found: list[Marked] = []
        first, done = 0, 0
        while done < len(steps):
            last = len(steps)
            marked = self._marked(question, steps[first:last])
            while len(marked[0]) > self.own.context_tokens and last > done + 1:
                last = max(done + 1, first + (last - first) * 3 // 4)
                marked = self._marked(question, steps[first:last])
            if len(marked[0]) > self.own.context_tokens and first < done:
                first = done  # the step alone
                continue
            if last < len(steps) and self.settings.too_long == "refuse":
                marked = self._marked(question, steps)
            self._refuse_longer(marked)
            found.append((marked[0], marked[1][done - first :]))
            first, done = max(first + 1, (first + last) // 2), last
        return found

    def _marked(self, question: str, steps: Sequence[str]) -> Marked:
        return marked_text(self.convention, self.tokenizer, question, steps)

    def _refuse_longer(self, marked: Marked) -> None:
        if len(marked[0]) > self.own.context_tokens:
            raise UserError(
                f"a trace takes {len(marked[0]):,} tokens of scorer {self.settings.path}, whose "
                f"context has {self.own.context_tokens:,}; set budget.max_thinking_tokens lower, "
                "scorer.too_long=windows, or take shorter steps"
            )

    async def _scores(self, marked: Marked) -> tuple[float, ...]:
        if self.batches is not None:
            found = await self.batches.scores(marked)
        else:
            assert self.client is not None
            found = await self.client.ask_json(
                "/pooling",
                {"model": self.settings.path, "input": marked[0], "task": "token_classify"},
                lambda reply: _pooled(reply, marked),
            )
        if not all(map(math.isfinite, found)):
            raise UserError(f"the scorer {self.settings.path} gives scores that are no numbers")
        return found

    async def check(self) -> None:
        if not self.settings.known:
            return
        question, *traces = self.settings.known
        right, wrong = [
            (await self.score(question, ids, [len(ids)])).scores[0]
            for ids in (list(self.reader(t, add_special_tokens=False)["input_ids"]) for t in traces)
        ]
        if right <= wrong:
            raise UserError(
                f"the scorer {self.settings.path} gives a right step {right:.3f} and a wrong one "
                f"{wrong:.3f} ({question}), so its scores are not what "
                f"scorer.convention={self.settings.convention} takes them for; check both (servers "
                "can ignore pooling by steps), or name an example of your own in scorer.known"
            )

    def close(self) -> None:
        if self.client is not None:
            run_in_loop(self.client.close())


def _pooled(reply: Mapping[str, object], marked: Marked) -> tuple[float, ...]:
    """Scores out of a reply of `/pooling`: classes at each token, or at each step."""
    data = reply.get("data")
    rows = data[0].get("data") if isinstance(data, list) and isinstance(data[0], dict) else None
    if not isinstance(rows, list):
        raise MalformedError("no data in the reply")
    ids, places = marked
    if len(rows) not in (len(ids), len(places)):
        raise MalformedError(
            f"{len(rows)} scores for {len(ids)} tokens in {len(places)} steps: the server pools "
            "otherwise; start it with --pooler-config for classes of tokens"
        )
    at = rows if len(rows) == len(places) else [rows[place] for place in places]
    try:
        return tuple(float(row[-1] if isinstance(row, list) else row) for row in at)
    except (TypeError, ValueError, IndexError) as error:
        raise MalformedError(f"scores that are no numbers ({error})") from None


def _device(wanted: str) -> str:
    import torch  # only where it runs here

    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"
