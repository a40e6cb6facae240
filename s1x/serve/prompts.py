"""From what a client sends to the ids that a policy starts from.

Messages go through the model's chat template, where their text is data: nothing in it is read as a
control token. A prompt of the completions endpoint is markup, as on every such server: the client
has applied the template itself. In both cases `thinking_start` follows where it is not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.policy import Policy
from s1x.errors import UserError
from s1x.model.chat import (
    direct_prompt_ids,
    direct_turn_ids,
    encode,
    prompt_ids,
    thinking_start_ids,
)
from s1x.model.chat_format import Chat, ChatFormat
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.serve import tools
from s1x.serve.refusal import Json, RefusedError, wrong

#: thinking of an earlier turn, as merged replies hand it out
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


class Prompts:
    """Makes prompts for one model."""

    def __init__(self, model: Model) -> None:
        self.model, self.tokenizer = model, load_tokenizer(model)
        self.num_ids = 1 + max(self.tokenizer.get_vocab().values())
        self.format = ChatFormat.of(model, self.tokenizer)
        self.start = tuple(thinking_start_ids(self.tokenizer, model))
        template = str(self.tokenizer.chat_template)
        self.takes_tools = "tools" in template and tools.BEGIN in template

    def conversation(
        self, messages: Sequence[Json], policy: Policy, offered: Sequence[Json] = ()
    ) -> Chat:
        """The prompt of a conversation, the last user's turn as the policy words it.

        Args:
            messages: the turns.
            policy: the budget policy.
            offered: tools; a call then ends thinking, as an answer does.

        Raises:
            RefusedError: the template does not take the conversation.
        """
        if offered and not self.takes_tools:
            raise RefusedError(
                f"tools are not served: the chat template of {self.model.name} has none, or not in "
                f"the form {tools.BEGIN}...{tools.END}",
                "tools",
            )
        worded = [_worded(message) for message in messages]
        asked = max((i for i, m in enumerate(worded) if m["role"] == "user"), default=None)
        if asked is None:
            self._refuse_told(policy, "messages")
        else:
            worded[asked]["content"] = policy.user_turn(str(worded[asked]["content"]))
        direct = isinstance(policy, DirectAnswer)
        if direct and len(worded) == 1 and self.model.direct_prompt is not None and not offered:
            ids = direct_prompt_ids(self.tokenizer, self.model, str(worded[0]["content"]))
            form = self.format.plain_completion(self.tokenizer.all_special_ids)
            return Chat(form, tuple(ids))
        try:
            if direct:
                ids = direct_turn_ids(self.tokenizer, self.model, worded, offered)
            else:
                ids = prompt_ids(self.tokenizer, worded, offered)
        except UserError as error:
            raise RefusedError(str(error).partition(";")[0], "messages") from None
        form = self.format
        if offered:
            form = replace(form, thinking_stops=(*form.thinking_stops, form.encode(tools.BEGIN)))
        return Chat(form, (*ids, *(() if direct else self.start)))

    def text(self, prompt: object, policy: Policy) -> Chat:
        """The prompt of a text in the model's own format, or of its ids.

        Raises:
            RefusedError: the policy is told in a user's turn, or an id is none of the model's.
        """
        self._refuse_told(policy, "prompt")
        if isinstance(prompt, str):
            ids = tuple(encode(self.tokenizer, prompt))
        else:
            assert isinstance(prompt, Sequence)
            ids = tuple(prompt)
            for token in ids:
                if not 0 <= token < self.num_ids:
                    raise wrong("prompt", f"ids from 0 to {self.num_ids - 1}", token)
        if isinstance(policy, DirectAnswer) or ids[-len(self.start) :] == self.start:
            return Chat(self.format, ids)
        return Chat(self.format, (*ids, *self.start))

    def _refuse_told(self, policy: Policy, field: str) -> None:
        if policy.user_turn("?") != "?":
            raise RefusedError(
                f"{field} has no user's turn, in which budget policy {type(policy).__name__} tells "
                "its budget; ask /v1/chat/completions as a user, or choose another policy",
                field,
            )

    def limited(
        self, chat: Chat, policy: Policy, max_tokens: int | None, field: str
    ) -> tuple[Chat, Policy]:
        """The same within a limit on all that is written.

        Raises:
            RefusedError: nothing could be written.
        """
        form = chat.format
        closing = len(form.newline) + len(form.answer_start) + len(form.cue)
        least = 1 if isinstance(policy, DirectAnswer) else closing + 1
        room = form.context_tokens - len(chat.prompt_ids)
        if room < least:
            raise RefusedError(
                f"the prompt has {len(chat.prompt_ids)} tokens, and the model's context of "
                f"{form.context_tokens} must hold {least} more; shorten it",
                "messages",
                code="context_length_exceeded",
            )
        if max_tokens is None:
            return chat, policy
        if max_tokens < least:
            must = f"{least} or more (delimiters, and a token of the answer)"
            raise wrong(field, must, max_tokens)
        whole = min(form.context_tokens, len(chat.prompt_ids) + max_tokens)
        reserve = min(policy.answer_reserve_tokens, max_tokens // 2)
        if policy.max_answer_tokens is not None:
            reserve = min(reserve, policy.max_answer_tokens)
        return (
            replace(chat, format=replace(form, context_tokens=whole)),
            replace(policy, answer_reserve_tokens=reserve),
        )


def _worded(message: Mapping[str, object]) -> Json:
    """A message as templates know it: developers are the system, thinking stands apart."""
    found = dict(message)
    if found["role"] == "developer":
        found["role"] = "system"
    if isinstance(calls := found.get("tool_calls"), list):
        found["tool_calls"] = [tools.readable(call) for call in calls]
    if found["role"] == "assistant" and "reasoning_content" not in found:
        thought = _THOUGHT.match(str(found["content"]))
        if thought:
            found["reasoning_content"] = thought[1]
            found["content"] = str(found["content"])[thought.end() :]
    return found
