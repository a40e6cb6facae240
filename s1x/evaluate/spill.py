"""Spill: thinking that goes on in the answer, as it may after a forced close."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from s1x.budget.policy import ANSWER
from s1x.budget.rollout import Trace
from s1x.model.chat_format import ChatFormat, TokenIds
from s1x.rows import SPILL_CUT, SPILL_DELIMITER, SPILL_WAIT

#: words with which traces of reasoning models turn back, beside a policy's own
WAIT_WORDS = ("Wait", "Hmm", "Alternatively")


def spill(trace: Trace, form: ChatFormat, wait_words: Collection[str] = ()) -> list[str]:
    """The signs of thinking in what the model itself wrote of the answer (the cue is not its own).

    `delimiter`: the end of thinking or the start of the answer once more; `wait`: a wait word as a
    whole word, in its case; `cut`: the answer came to its limit before its end.
    """
    count = trace.part_tokens[ANSWER]
    ids = tuple(trace.token_ids[len(trace.token_ids) - count :])
    delimiters = {*form.thinking_stops, form.answer_start} - {*form.answer_stops, ()}
    words = "|".join(re.escape(word) for word in {*WAIT_WORDS, *wait_words})
    signs = {
        SPILL_DELIMITER: any(_contains(ids, delimiter) for delimiter in delimiters),
        SPILL_WAIT: bool(re.search(rf"(?<!\w)(?:{words})(?!\w)", form.decode(ids))),
        SPILL_CUT: trace.answer_cut,
    }
    return [sign for sign, there in signs.items() if there]


def _contains(ids: Sequence[int], wanted: TokenIds) -> bool:
    starts = range(len(ids) - len(wanted) + 1)
    return any(tuple(ids[start : start + len(wanted)]) == wanted for start in starts)
