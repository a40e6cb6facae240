"""Early exit, beyond the paper: stop thinking when the answer no longer changes (2506.02536)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from s1x.budget.policy import LimitedPolicy, Steps
from s1x.budget.thinking import Thinking
from s1x.errors import SettingError
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "early_exit")
@dataclass(frozen=True)
class EarlyExit(LimitedPolicy):
    """Asks for the answer at intervals and ends thinking when it stays the same.

    Answers are asked for as after a cut, so each check is the answer of budget forcing at that many
    tokens and is shared with it. What the checks cost stands in the evaluation's generated tokens,
    not in the trace's thinking tokens. Two answers are the same when their texts are, case and
    space aside. An answer with an uncertainty word confirms nothing, and nothing confirms it.
    """

    swept_settings = ("num_unchanged_checks",)
    swept_values: ClassVar = {"num_unchanged_checks": (1, 2, 3, 4)}

    check_every_tokens: int = setting(256, "thinking tokens between two checks", at_least=1)
    num_unchanged_checks: int = setting(
        2, "checks in a row that confirm the answer before them", at_least=1
    )
    uncertainty_words: list[str] = setting(
        factory=list,
        doc="whole words, in any case, that void a check whose answer holds one, "
        "such as [wait,hold,but,okay,no,hmm]",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if blank := [word for word in self.uncertainty_words if not word.strip()]:
            raise SettingError("uncertainty_words", "words", blank[0])

    def run(self, chat: Chat) -> Steps:
        trace = Thinking(chat, self, self.max_thinking_tokens)
        ended, unchanged, last = False, 0, ""
        while not ended and trace.left_tokens > 0 and unchanged < self.num_unchanged_checks:
            ended = yield from trace.think(self.check_every_tokens)
            if not ended and not trace.looped:
                text = chat.decode((yield from trace.probe(as_cut=True))).casefold()
                answer = "" if self._is_unsure(text) else " ".join(text.split())
                unchanged, last = (unchanged + 1 if answer and answer == last else 0), answer
        return (yield from trace.answer(ended))

    def _is_unsure(self, text: str) -> bool:
        words = "|".join(re.escape(word.casefold()) for word in self.uncertainty_words)
        return bool(words) and re.search(rf"(?<!\w)(?:{words})(?!\w)", text) is not None

    def label(self) -> str:
        checks = "check" if self.num_unchanged_checks == 1 else "checks"
        exit_ = f"exit after {self.num_unchanged_checks} unchanged {checks}"
        limit = self.max_thinking_tokens
        return exit_ + (f", max {limit}" if limit is not None else "")
