"""`model=auto`: any hub id or folder of a model that thinks; its delimiters are found.

    python run.py stages=[evaluate] evaluate.models=[base] model=auto model.path=Qwen/Qwen3-4B

A family is known by what its tokenizer or its chat template says of thinking. The end of a turn is
what the template writes after an assistant's words. What the command line sets is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from s1x.console import say_once
from s1x.errors import UserError
from s1x.hub import cached_folder, hub_answers
from s1x.model.architecture import architecture_numbers
from s1x.model.load import load_config, load_tokenizer
from s1x.model.model import Model
from s1x.option import option, setting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Family(NamedTuple):
    """How a family of models writes its thinking.

    Attributes:
        start, end, answer: `thinking_start`, `thinking_end` and `answer_start`.
        signs: texts by which it is known: each is a token, or stands in the chat template.
    """

    start: str
    end: str
    answer: str
    signs: tuple[str, ...]


S1 = Family("<|im_start|>think\n", "<|im_start|>", "<|im_start|>answer\n", ("<|im_start|>think",))
#: the first whose signs are all there is meant
FAMILIES = (
    S1,
    # gpt-oss: channels of a turn
    Family(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        ("<|channel|>", "<|message|>", "<|end|>", "analysis"),
    ),
    # Sky-T1, Bespoke-Stratos, the first OpenThinker
    Family(
        "<|begin_of_thought|>\n\n",
        "<|end_of_thought|>",
        "<|end_of_thought|>\n\n<|begin_of_solution|>\n\n",
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ),
    Family("[THINK]", "[/THINK]", "[/THINK]", ("[THINK]", "[/THINK]")),  # Magistral
    Family("<seed:think>", "</seed:think>", "</seed:think>", ("<seed:think>", "</seed:think>")),
    # R1, QwQ, Qwen3 and most others; some templates name the end alone
    Family("<think>\n", "</think>", "</think>\n\n", ("</think>",)),
)
#: hub ids of models in s1's format, of which neither tokenizer nor template says anything
_S1_IDS = ("simplescaling/s1-", "simplescaling/s1.1-")
_DELIMITERS = ("thinking_start", "thinking_end", "answer_start")


@option("model", "auto")
@dataclass(frozen=True)
class Auto(Model):
    """A model whose delimiters are read off its tokenizer and chat template, and named on start.

    Raises:
        UserError: they are not to be found; the sentence has the settings to give.
    """

    thinking_start: str = setting("", "opens the assistant's turn; '': found")
    thinking_end: str = setting("", "what the model writes to end its thinking; '': found")
    answer_start: str = setting("", "from thinking to the answer, forced; '': found")
    end_of_turn: str = setting("", "what the model writes to end its answer; '': found")

    def __post_init__(self) -> None:
        says_length = self.context_tokens > 0
        super().__post_init__()
        if not self.is_local():
            self._ask_hub()
            if not (says_length and self.architecture):
                self._read_config(says_length)
        wanted = [name for name in _DELIMITERS if not self.delimiters()[name]]
        if not wanted and self.end_of_turn:
            return
        tokenizer = load_tokenizer(self)
        found = dict(self.delimiters())
        if wanted:
            family = S1 if self.path.startswith(_S1_IDS) else find_family(tokenizer)
            if family is None:
                given = " ".join(f"model.{name}=..." for name in wanted)
                raise UserError(
                    f"model=auto does not find in the tokenizer and the chat template of "
                    f"{self.path} how it writes its thinking; give {given}, or take model=own for "
                    "a model in s1's format"
                )
            own = dict(zip(_DELIMITERS, (family.start, family.end, family.answer), strict=True))
            found |= {name: own[name] for name in wanted}
        found["end_of_turn"] = self.end_of_turn or find_end_of_turn(tokenizer)
        for name, text in found.items():
            object.__setattr__(self, name, text)
        shown = ", ".join(f"{name} {text!r}" for name, text in found.items())
        say_once(f"model {self.name}: {shown}; found in its tokenizer and chat template")

    def _ask_hub(self) -> None:
        """Whether the hub is there, asked once: its client would try for long."""
        if cached_folder(self.path, self.revision) is None and not hub_answers():
            raise UserError(
                f"model.path {self.path} is no folder here and not in the hub's cache, and the hub "
                "cannot be reached; set model.path to a local folder, or connect this machine"
            )

    def _read_config(self, says_length: bool) -> None:
        """Context and numbers of a model of the hub, as its config.json has them."""
        numbers = load_config(self).to_dict()
        if not says_length:
            context = numbers.get("max_position_embeddings") or self.context_tokens
            object.__setattr__(self, "context_tokens", context)
        if not self.architecture:
            object.__setattr__(self, "architecture", architecture_numbers(numbers))

    def delimiters(self) -> dict[str, str]:
        """The three delimiters of thinking as they are known."""
        texts = (self.thinking_start, self.thinking_end, self.answer_start)
        return dict(zip(_DELIMITERS, texts, strict=True))


def find_family(tokenizer: PreTrainedTokenizerBase) -> Family | None:
    """The family whose signs are all tokens of the vocabulary or in the chat template; or None."""
    template = str(tokenizer.chat_template)
    tokens = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    known = (f for f in FAMILIES if all(sign in tokens or sign in template for sign in f.signs))
    return next(known, None)


def find_end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The first special token after an assistant's words in the chat template, else the EOS.

    Raises:
        UserError: there is neither.
    """
    said = "So be it."
    turns = [{"role": "user", "content": "2"}, {"role": "assistant", "content": said}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(said)[2]
    specials = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    places = {text.find(token): token for token in specials if token and token in text}
    end = places[min(places)] if places else tokenizer.eos_token
    if not end:
        raise UserError("model=auto finds no end of a turn in the template; give model.end_of_turn")
    return str(end)
