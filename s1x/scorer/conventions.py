"""How published process reward models want their text, as data.

A convention says how a question and its steps become token ids, at which of them the scores stand,
and what of the model's output is the score there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s1x.errors import UserError
from s1x.model.chat import encode, encode_data, prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: what of the output is the score: two classes behind an MLP or a linear layer (softmax), one value
#: behind a linear layer (sigmoid; of a step, or of a whole reply), or one word against another
MLP, LABELS, VALUE, OUTCOME, WORDS = "mlp", "labels", "value", "outcome", "words"


@dataclass(frozen=True)
class Convention:
    """One family of reward models.

    Attributes:
        layout: see `LAYOUTS`.
        head: of the module's names.
        mark: what ends a step; its score stands there.
        system: the system message, if there is one.
        words: good and bad, where the head is `words`.
        source: where it is documented.
    """

    layout: str
    head: str
    mark: str = ""
    system: str = ""
    words: tuple[str, str] = ("+", "-")
    source: str = ""


CONVENTIONS = {
    "qwen": Convention(
        "chat",
        MLP,
        "<extra_0>",
        "Please reason step by step, and put your final answer within \\boxed{}.",
        source="Qwen/Qwen2.5-Math-PRM-7B",
    ),
    "reasonflux": Convention("chat", MLP, "<extra_0>", source="Gen-Verse/ReasonFlux-PRM-7B"),
    "skywork": Convention("lines", VALUE, "\n", source="Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"),
    "rlhflow": Convention("turns", WORDS, "+", source="RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"),
    "math_shepherd": Convention(
        "tags", WORDS, " ки", source="peiyi9979/math-shepherd-mistral-7b-prm"
    ),
    # a turn of the assistant, and one value behind its last token
    "outcome": Convention("reply", OUTCOME, source="Skywork/Skywork-Reward-V2-Qwen3-8B"),
    # no text of its own: the tokens of the model that is scored, which has the same tokenizer
    "own_tokens": Convention("tokens", LABELS, source="s1x_puzzles/puzzle_verifier"),
}

#: token ids, and the offsets in them at which the steps' scores stand
Marked = tuple[list[int], list[int]]


def marked_text(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    """The ids that the reward model reads, and where it says its scores.

    Raises:
        UserError: the tokenizer has no single token for the mark.
    """
    return LAYOUTS[convention.layout](convention, tokenizer, question, steps)


def word_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The last token of a word of the convention."""
    ids = encode(tokenizer, text)
    if not ids or ids[-1] == tokenizer.unk_token_id:
        raise UserError(
            f"the scorer's tokenizer has no token for {text!r}; scorer.convention is that of "
            "another family, or scorer.path of another model"
        )
    return ids[-1]


def _chat(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    system = [{"role": "system", "content": convention.system}] if convention.system else []
    ids = prompt_ids(tokenizer, [*system, {"role": "user", "content": question}])
    return _with_steps(convention, tokenizer, ids, [step.strip() for step in steps])


def _lines(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*start, *encode_data(tokenizer, question + "\n")]
    return _with_steps(convention, tokenizer, ids, [step.strip() for step in steps])


def _tags(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*start, *encode_data(tokenizer, question + " ")]
    return _with_steps(convention, tokenizer, ids, [step.strip() for step in steps], "\n")


def _with_steps(
    convention: Convention,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    steps: Sequence[str],
    between: str = "",
) -> Marked:
    mark, places = word_id(tokenizer, convention.mark), []
    for k, step in enumerate(steps):
        ids = [*ids, *encode_data(tokenizer, (between if k else "") + step), mark]
        places.append(len(ids) - 1)
    return ids, places


def _turns(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    turns: list[dict[str, str]] = []
    ids: list[int] = []
    places = []
    for k, step in enumerate(steps):
        text = f"{question} {step.strip()}" if k == 0 else step.strip()
        turns.append({"role": "user", "content": text})
        ids = prompt_ids(tokenizer, turns)
        places.append(len(ids) - 1)  # what comes next is + or -
        turns.append({"role": "assistant", "content": convention.mark})
    return ids, places


def _reply(
    convention: Convention, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
) -> Marked:
    reply = {"role": "assistant", "content": "".join(steps)}
    turns = [{"role": "user", "content": question}, reply]
    ids = prompt_ids(tokenizer, turns, is_over=True)
    return ids, [len(ids) - 1]


LAYOUTS: dict[str, Callable[[Convention, PreTrainedTokenizerBase, str, Sequence[str]], Marked]] = {
    "chat": _chat,
    "lines": _lines,
    "turns": _turns,
    "tags": _tags,
    "reply": _reply,
}
