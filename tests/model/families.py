"""Five families of models that think: tokenizers of a few tokens, templates of the published shape.

The template texts are our own; what they do is what the published ones do: who opens thinking, what
becomes of the thinking in earlier turns, whether there is a switch, which delimiters are tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.model.model import Model

#: pairs that byte-level vocabularies have as one token (Ċ is the newline)
MERGES = [("Ċ", "Ċ"), (".", "Ċ"), ("<", "/"), (">", "Ċ"), (">", "ĊĊ")]

_CHATML = """\
{%- macro turn(role, text) -%}
{{ '<|im_start|>' + role + '\\n' + text + '<|im_end|>\\n' }}
{%- endmacro -%}
"""
S1 = (
    _CHATML
    + """\
{%- if messages[0].role != 'system' %}{{ turn('system', 'Be helpful.') }}{% endif -%}
{%- for m in messages %}{{ turn(m.role, m.content) }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
)
QWEN3 = (
    _CHATML
    + """\
{%- set seen = namespace(asked=0) -%}
{%- for m in messages -%}
  {%- if m.role == 'user' %}{% set seen.asked = loop.index0 %}{% endif -%}
{%- endfor -%}
{%- for m in messages -%}
  {%- if m.role != 'assistant' %}{{ turn(m.role, m.content) }}
  {%- else -%}
    {%- set said, thought = m.content, '' -%}
    {%- if m.reasoning_content is string %}{% set thought = m.reasoning_content %}
    {%- elif '</think>' in said -%}
      {%- set thought = said.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}
      {%- set said = said.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {%- if loop.index0 > seen.asked and thought -%}
      {%- set said = '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said -%}
    {%- endif -%}
    {{ turn('assistant', said) }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|im_start|>assistant\\n' }}
  {%- if enable_thinking is defined and not enable_thinking -%}
    {{ '<think>\\n\\n</think>\\n\\n' }}
  {%- endif -%}
{%- endif -%}
"""
)
QWQ = (
    _CHATML
    + """\
{%- for m in messages -%}
  {%- if m.role == 'assistant' -%}
    {{ turn('assistant', m.content.split('</think>')[-1].lstrip('\\n')) }}
  {%- else %}{{ turn(m.role, m.content) }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif -%}
"""
)
R1 = """\
{{ bos_token }}
{%- for m in messages if m.role == 'system' %}{{ m.content }}{% endfor -%}
{%- for m in messages -%}
  {%- if m.role == 'user' %}{{ '<｜User｜>' + m.content }}{% endif -%}
  {%- if m.role == 'assistant' -%}
    {%- set said = m.content -%}
    {%- if '</think>' in said %}{% set said = said.split('</think>')[-1] %}{% endif -%}
    {{ '<｜Assistant｜>' + said + '<｜end▁of▁sentence｜>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif -%}
"""
PLAIN = """\
{{ bos_token }}
{%- for m in messages -%}
  {{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}
  {{- (m.content.split('</think>')[-1] if m.role == 'assistant' else m.content) + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}
"""
THINK = {"thinking_start": "<think>\n", "thinking_end": "</think>", "answer_start": "</think>\n\n"}
S1_TEXTS = {
    "thinking_start": "<|im_start|>think\n",
    "thinking_end": "<|im_start|>",
    "answer_start": "<|im_start|>answer\n",
}


@dataclass(frozen=True)
class Family:
    """One of them.

    Attributes:
        name: of the published family whose shape it has.
        template: its chat template.
        special, added: special tokens, the first one ends a turn; added tokens that are not.
        delimiters: `thinking_start`, `thinking_end`, `answer_start`.
        opens: what its template writes of `thinking_start`.
        direct: what stands after the template's prompt for an answer without thinking.
        bos: the token that opens a conversation.
    """

    name: str
    template: str
    special: tuple[str, ...]
    added: tuple[str, ...]
    delimiters: dict[str, str]
    opens: str = ""
    direct: str = ""
    bos: str | None = None

    def tokenizer(self) -> Any:
        """Byte-level, with a few merges and the family's tokens."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = [*letters, *("".join(pair) for pair in MERGES)]
        vocabulary = {word: index for index, word in enumerate(words)}
        bare = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
        bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        bare.decoder = decoders.ByteLevel()
        bare.add_special_tokens([AddedToken(text, normalized=False) for text in self.special])
        bare.add_tokens([AddedToken(text, normalized=False) for text in self.added])
        made = PreTrainedTokenizerFast(
            tokenizer_object=bare, eos_token=self.special[0], bos_token=self.bos
        )
        made.chat_template = self.template
        return made

    def write(self, folder: Path) -> Path:
        """A model folder without weights: tokenizer, template and config.json."""
        tokenizer = self.tokenizer()
        tokenizer.save_pretrained(folder)
        size = 1 + max(tokenizer.get_vocab().values())
        config = {"model_type": "llama", "vocab_size": size, "max_position_embeddings": 4096}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def model(self, path: str = "nowhere") -> Model:
        """The family's option, as conf/model has it."""
        return Model(
            name=self.name, path=path, context_tokens=4096, end_of_turn=self.special[0],
            **self.delimiters,
        )  # fmt: skip


_EMPTY = "\n</think>\n\n"
_CHATML_TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
FAMILIES = [
    Family("s1", S1, _CHATML_TOKENS, (), S1_TEXTS),
    Family("qwen3", QWEN3, _CHATML_TOKENS, ("<think>", "</think>"), THINK),
    Family("qwq", QWQ, _CHATML_TOKENS, ("<think>", "</think>"), THINK, "<think>\n", _EMPTY),
    Family(
        "r1_distill",
        R1,
        ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
        ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        THINK,
        "<think>\n",
        _EMPTY,
        "<｜begin▁of▁sentence｜>",
    ),
    Family(
        "plain_tags",
        PLAIN,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        (),
        THINK,
        "",
        "<think>\n" + _EMPTY,
        "<|begin_of_text|>",
    ),
]
