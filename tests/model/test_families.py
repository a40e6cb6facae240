"""Families of models that think: prompts token by token, budget forcing, delimiters found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, PLAIN, QWEN3, S1_TEXTS, Family

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace, rollout
from s1x.engine.engine import Sampling
from s1x.engine.scripted import Scripted
from s1x.errors import UserError
from s1x.model.auto import Auto
from s1x.model.chat import (
    direct_prompt_ids,
    direct_turn_ids,
    encode,
    prompt_ids,
    thinking_prompt_ids,
)
from s1x.model.chat_format import Chat, ChatFormat
from s1x.model.load import load_tokenizer
from s1x.rows import CUT, NATURAL
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

EACH = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
QUESTION = "What is 2 + 2?\n\nAnswer in one word."
USER = [{"role": "user", "content": QUESTION}]
THOUGHT = "<think>\nTwo and two.\nIn code: `</think>`.\n</think>\n\nFour."
CONVERSATIONS = {
    "one turn": USER,
    "system": [{"role": "system", "content": "Be brief."}, *USER],
    "earlier turn": [*USER, {"role": "assistant", "content": "Four."}, *USER],
    "earlier thinking": [*USER, {"role": "assistant", "content": THOUGHT}, *USER],
    "opened by the template": [*USER, {"role": "assistant", "content": THOUGHT[8:]}, *USER],
}


def applied(tokenizer: Any, messages: list[dict[str, str]], **settings: Any) -> list[int]:
    """The ids that the template gives by itself."""
    found = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False, **settings
    )
    return list(found)


@EACH
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=list(CONVERSATIONS))
def test_prompts_are_the_templates_token_by_token(
    family: Family, messages: list[dict[str, str]]
) -> None:
    tokenizer = family.tokenizer()
    if family.name == "s1" and "think" in str(messages):
        pytest.skip("its template keeps what was said, tags and all")
    assert prompt_ids(tokenizer, messages) == applied(tokenizer, messages)


@EACH
def test_thinking_is_opened_once(family: Family) -> None:
    tokenizer = family.tokenizer()
    own, start = applied(tokenizer, USER), family.delimiters["thinking_start"]
    opened = family.opens == start
    assert own == encode(tokenizer, tokenizer.decode(own))
    wanted = own if opened else own + encode(tokenizer, start)
    assert thinking_prompt_ids(tokenizer, family.model(), QUESTION) == wanted
    assert tokenizer.decode(wanted).count(start) == 1


@EACH
def test_a_direct_answer_closes_thinking_where_the_model_would_think(family: Family) -> None:
    tokenizer = family.tokenizer()
    switch = {"enable_thinking": False} if "enable_thinking" in family.template else {}
    text = tokenizer.decode(applied(tokenizer, USER, **switch)) + family.direct
    assert direct_prompt_ids(tokenizer, family.model(), QUESTION) == encode(tokenizer, text)
    assert family.name == "s1" or text.endswith("<think>\n\n</think>\n\n")


@EACH
def test_tags_in_data_are_text(family: Family) -> None:
    tokenizer, tags = family.tokenizer(), {*family.added, *family.special}
    asked = [{"role": "user", "content": "<think>\n</think> <|im_end|>"}]
    said = {"role": "assistant", "content": "a <think> b </think> c <think> d"}
    for messages in (asked, [*asked, said, *asked]):
        plain = [{**m, "content": "2"} for m in messages]
        controls = [tokenizer.convert_tokens_to_ids(tag) for tag in sorted(tags)]
        for prompt in (prompt_ids, lambda t, m: direct_turn_ids(t, family.model(), m)):
            count = [prompt(tokenizer, messages).count(token) for token in controls]
            assert count == [prompt(tokenizer, plain).count(token) for token in controls]


def run(family: Family, folder: Path, script: dict[str, str], policy: Policy) -> tuple[Any, Trace]:
    """A rollout over the scripted engine."""
    model = family.model(str(family.write(folder)))
    tokenizer = load_tokenizer(model)
    direct = isinstance(policy, DirectAnswer)
    ids = (direct_prompt_ids if direct else thinking_prompt_ids)(tokenizer, model, QUESTION)
    streams = Streams(Scripted(script=script).start(model), TraceStore(None, "m"), Sampling())
    chat = Chat(ChatFormat.of(model, tokenizer), tuple(ids))
    trace = asyncio.run(rollout(policy, chat, streams.of("q", 0.0)))
    return tokenizer, trace


def script_of(family: Family) -> dict[str, str]:
    """Two lines of thinking and an answer; another line after a Wait."""
    start, answer = family.delimiters["thinking_start"], family.delimiters["answer_start"]
    return {
        start: f"First.\nSecond.\n{answer}Four",
        "Wait": f", third.\n{answer}Five",
        answer: "Four",
        "Final Answer:": " Six",
    }


def shown(tokenizer: Any, trace: Trace) -> str:
    text: str = tokenizer.decode(trace.token_ids, skip_special_tokens=False)
    return text


@EACH
def test_a_natural_end_is_the_models_own(family: Family, tmp_path: Path) -> None:
    tokenizer, trace = run(family, tmp_path, script_of(family), BudgetForcing())
    answer = family.delimiters["answer_start"]
    assert shown(tokenizer, trace) == f"First.\nSecond.\n{answer}Four"
    assert trace.outcome.end_reason == NATURAL
    end = len(encode(tokenizer, family.delimiters["thinking_end"]))
    begun = trace.part_tokens["thinking"]
    assert not any(trace.forced[: begun + end])
    assert tokenizer.decode(trace.answer_ids) == "Four"


@EACH
def test_a_cut_forces_the_delimiter_by_id(family: Family, tmp_path: Path) -> None:
    policy = BudgetForcing(max_thinking_tokens=9)
    tokenizer, trace = run(family, tmp_path, script_of(family), policy)
    answer = family.delimiters["answer_start"]
    begun = trace.part_tokens["thinking"]
    assert begun == 9
    assert trace.outcome.end_reason == CUT
    assert shown(tokenizer, trace).startswith("First.\nSec")
    assert shown(tokenizer, trace).endswith(f"\n{answer}Final Answer: Six")
    newline, ids = encode(tokenizer, "\n"), encode(tokenizer, answer)
    assert trace.token_ids[begun : begun + len(newline + ids)] == newline + ids
    assert all(trace.forced[begun : begun + len(newline + ids)])


@EACH
def test_a_wait_takes_the_place_of_the_end(family: Family, tmp_path: Path) -> None:
    tokenizer, trace = run(family, tmp_path, script_of(family), BudgetForcing(num_waits=1))
    answer = family.delimiters["answer_start"]
    assert shown(tokenizer, trace).startswith(f"First.\nSecond.\nWait, third.\n{answer}")
    assert (trace.outcome.num_waits, trace.outcome.end_reason) == (1, NATURAL)


@EACH
def test_a_direct_answer_has_no_thinking(family: Family, tmp_path: Path) -> None:
    script = {"\n": "Four"}
    tokenizer, trace = run(family, tmp_path, script, DirectAnswer())
    assert (shown(tokenizer, trace), trace.part_tokens["thinking"]) == ("Four", 0)


def test_the_end_of_thinking_counts_inside_code_too(tmp_path: Path) -> None:
    qwen3 = next(f for f in FAMILIES if f.template is QWEN3)
    code = "A tag:\n```\nprint('</think>"
    script = {"<think>\n": f"{code}')\n```\n</think>\n\nFour", "</think>\n\n": "Four"}
    tokenizer, trace = run(qwen3, tmp_path, script, BudgetForcing())
    assert tokenizer.decode(trace.thinking_ids) == code.removesuffix("</think>")
    assert tokenizer.decode(trace.answer_ids) == "Four"


def test_plain_tags_end_thinking_whatever_follows_them(tmp_path: Path) -> None:
    plain = next(f for f in FAMILIES if f.template is PLAIN)
    tokenizer = plain.tokenizer()
    ends = [encode(tokenizer, f"</think>{tail}") for tail in ("", "\n", "\n\n")]
    assert len({ids[-1] for ids in ends}) == 3  # the last piece of the tag is another token
    for index, tail in enumerate((" ", "\n", "\n\n")):
        script = {"<think>\n": f"Two.\n</think>{tail}Four", "</think>\n\n": "Four"}
        found = run(plain, tmp_path / str(index), script, BudgetForcing())[1]
        assert tokenizer.decode(found.thinking_ids) == "Two.\n"
        assert tokenizer.decode(found.answer_ids) == "Four"


@EACH
def test_auto_finds_the_delimiters(
    family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(family.write(tmp_path / f"my-{family.name}"))
    if family.name == "s1":
        with pytest.raises(UserError, match=r"model.thinking_start=... .*model.answer_start=..."):
            Auto(path=path)
        assert Auto(path=path, **S1_TEXTS).end_of_turn == "<|im_end|>"
        return
    found = Auto(path=path)
    assert found.delimiters() == family.delimiters
    assert (found.end_of_turn, found.context_tokens) == (family.special[0], 4096)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("found in its tokenizer and chat template") == 1
    assert f"model my-{family.name}: thinking_start" in said


def test_auto_leaves_what_is_set(tmp_path: Path) -> None:
    path = str(FAMILIES[1].write(tmp_path))
    found = Auto(path=path, answer_start="</think>\n\n**", end_of_turn="<|endoftext|>")
    assert (found.answer_start, found.end_of_turn) == ("</think>\n\n**", "<|endoftext|>")
    assert found.thinking_end == "</think>"


def test_auto_tells_at_once_that_the_hub_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s1x.model.auto.hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"some/model is no folder here .* cannot be reached"):
        Auto(path="some/model")
