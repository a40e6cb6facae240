"""From pieces of answers to OpenAI's objects: whole replies, and chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from s1x.budget.policy import DELIMITER, THINKING
from s1x.serve.body import HIDDEN
from s1x.serve.gateway import Work
from s1x.serve.recorder import Piece, Recorder
from s1x.serve.refusal import Json
from s1x.serve.serve import BOTH, MERGED

_FINGERPRINT = f"s1x-{version('s1x')}"
OPEN, CLOSE = "<think>", "</think>"


@dataclass
class Reply:
    """The reply to one request.

    Attributes:
        work: the request.
        chat: whether choices have messages; else they have a text.
    """

    work: Work
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self._format = self.work.ask.reasoning_format
        self._opened: set[int] = set()
        self._closed: set[int] = set()

    # -- streams ----------------------------------------------------------------------------------

    def first(self) -> list[Json]:
        """The chunks that open a stream: each answer's role."""
        if not self.chat:
            return []
        delta: Json = {"role": "assistant", "content": ""}
        return [self._chunk(r.index, delta) for r in self.work.recorders]

    def chunks(self, item: Piece | Recorder) -> list[Json]:
        """The chunks of a piece, or of the end of an answer."""
        if isinstance(item, Piece):
            texts = self._texts(item)
            said: Json = {"part": item.part, "tokens": item.num_tokens, "forced": item.forced}
            hidden = item.part == THINKING and self._format == HIDDEN
            if not texts and (hidden or not item.num_tokens):
                return []
            return [self._chunk(item.index, dict(texts), None, said)]
        rest: Json = dict(self._texts(Piece(item.index, DELIMITER, "", 0, False)))
        if item.calls:
            rest["tool_calls"] = [{"index": i, **call} for i, call in enumerate(item.calls)]
        found = [self._chunk(item.index, rest)] if rest else []
        last = self._chunk(item.index, {}, _finish(item), self.s1x([item]))
        return [*found, last]

    def last(self) -> list[Json]:
        """The chunk that counts, where the client asks for it."""
        if not self.work.ask.include_usage:
            return []
        return [{**self._head(stream=True), "choices": [], "usage": self.usage()}]

    def _chunk(
        self, index: int, delta: Json, finish: str | None = None, s1x: Json | None = None
    ) -> Json:
        choice: Json = {"index": index}
        if self.chat:
            choice["delta"] = delta
        else:
            choice |= {"text": "", **delta}
        choice |= {"logprobs": None, "finish_reason": finish}
        found = {**self._head(stream=True), "choices": [choice]}
        if self.work.ask.include_usage:
            found["usage"] = None
        return found if s1x is None else {**found, "s1x": s1x}

    def _texts(self, piece: Piece) -> dict[str, str]:
        """The fields that a piece's text belongs into, and the text."""
        answer = "content" if self.chat else "text"
        if self._format == MERGED:
            text = self._tags(piece) + piece.text
            return {answer: text} if text else {}
        if not piece.text:
            return {}
        if piece.part != THINKING:
            return {answer: piece.text}
        if self._format == HIDDEN:
            return {}
        both = ("reasoning_content", "reasoning")
        return dict.fromkeys(both if self._format == BOTH else (self._format,), piece.text)

    def _tags(self, piece: Piece) -> str:
        """What opens or closes merged thinking before a piece."""
        index, text = piece.index, ""
        opens = piece.part == THINKING or (piece.part == DELIMITER and piece.num_tokens)
        if opens and index not in self._opened:
            self._opened.add(index)
            text = OPEN
        if piece.part != THINKING and index in self._opened and index not in self._closed:
            self._closed.add(index)
            text += CLOSE
        return text

    # -- whole replies ----------------------------------------------------------------------------

    def whole(self, items: Sequence[Piece | Recorder]) -> Json:
        """The reply in one piece."""
        texts: dict[int, dict[str, str]] = {r.index: {} for r in self.work.recorders}
        for item in items:
            if isinstance(item, Recorder):
                item = Piece(item.index, DELIMITER, "", 0, False)
            for name, text in self._texts(item).items():
                texts[item.index][name] = texts[item.index].get(name, "") + text
        choices = [
            self._choice(recorder, texts[recorder.index]) for recorder in self.work.recorders
        ]
        found = {**self._head(stream=False), "choices": choices, "usage": self.usage()}
        return {**found, "s1x": self.s1x(self.work.recorders)}

    def _choice(self, recorder: Recorder, texts: dict[str, str]) -> Json:
        choice: Json = {"index": recorder.index}
        if self.chat:
            message: Json = {"role": "assistant", "content": "", "refusal": None, **texts}
            if recorder.calls:
                message |= {"content": texts.get("content"), "tool_calls": recorder.calls}
            choice["message"] = message
        else:
            choice |= {"text": "", **texts}
        return choice | {"logprobs": None, "finish_reason": _finish(recorder)}

    # -- what both say ----------------------------------------------------------------------------

    def _head(self, stream: bool) -> Json:
        kind = "text_completion"
        if self.chat:
            kind = "chat.completion.chunk" if stream else "chat.completion"
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.work.ask.model,
            "system_fingerprint": _FINGERPRINT,
        }

    def usage(self) -> Json:
        """Counts of ids: a prompt once, thinking with what was forced, delimiters, answers.

        Traces that a search did not choose are thinking.
        """
        prompt = sum(len(chat.prompt_ids) for chat in self.work.chats)
        traces = [r.trace for r in self.work.recorders if r.trace is not None]
        others = sum(r.spent_tokens["discarded"] for r in self.work.recorders if r.books)
        written = others + sum(len(trace.token_ids) for trace in traces)
        thinking = others + sum(trace.part_tokens[THINKING] for trace in traces)
        found: Json = {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "completion_tokens_details": {"reasoning_tokens": thinking},
        }
        cached = [t.cached_prompt_tokens for t in traces[:: self.work.ask.num_samples]]
        if None not in cached:
            total = sum(count for count in cached if count is not None)
            found["prompt_tokens_details"] = {"cached_tokens": total}
        return found

    def s1x(self, recorders: Sequence[Recorder]) -> Json:
        """What became of the budget; with several answers, of each."""
        drawn = self.work.sampling
        how = {"temperature": drawn.temperature, "top_p": drawn.top_p}
        budget = self.work.budget()
        found: Json = {
            "budget": budget,
            "sampling": how if drawn.greedy else {**how, "seed": drawn.seed},
        }
        if len(recorders) == 1:
            budget |= self.work.limit(self.work.chat_of(recorders[0]))
            return {**found, **recorders[0].facts()}
        facts: list[Json] = [{"index": r.index, **r.facts()} for r in recorders]
        if "limited_by" not in budget:
            for fact, recorder in zip(facts, recorders, strict=True):
                fact |= self.work.limit(self.work.chat_of(recorder))
        return {**found, "choices": facts}

    def headers(self, whole: bool) -> dict[str, str]:
        """What a client sees without reading the body."""
        budget = self.work.budget()
        found = {"x-s1x-policy": str(budget["policy"])}
        if "thinking_limit_tokens" in budget:
            found["x-s1x-thinking-limit"] = str(budget["thinking_limit_tokens"])
        traces = [r.trace for r in self.work.recorders if r.trace is not None]
        if whole and traces:
            thinking = sum(trace.part_tokens[THINKING] for trace in traces)
            reasons = dict.fromkeys(trace.outcome.end_reason for trace in traces)
            found["x-s1x-thinking-tokens"] = str(thinking)
            found["x-s1x-end-reason"] = ",".join(reasons)
            found["x-s1x-num-waits"] = str(sum(trace.outcome.num_waits for trace in traces))
        return found


def _finish(recorder: Recorder) -> str:
    """ "length" only where the answer was cut; thinking that was cut has an answer."""
    assert recorder.trace is not None
    if recorder.calls:
        return "tool_calls"
    return "length" if recorder.trace.answer_cut else "stop"


def event(data: Json) -> bytes:
    """A server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


DONE = b"data: [DONE]\n\n"
SILENCE = b": still at work\n\n"
