"""What each policy does on streams written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import policy_bench as world
import pytest
from policy_bench import Bench, chat_format, encode

from s1x.budget import formats, points
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.class_conditional import ClassConditional
from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.early_exit import EarlyExit
from s1x.budget.policy import ANSWER, CUE, Policy
from s1x.budget.rejection_sampling import RejectionSampling
from s1x.budget.rollout import Trace
from s1x.budget.step_conditional import StepConditional
from s1x.budget.thinking import CLOSINGS
from s1x.budget.token_conditional import TokenConditional
from s1x.budget.unlimited import Unlimited
from s1x.budget.wait_window import WaitWindow
from s1x.engine.engine import Request
from s1x.engine.scripted import ScriptedEngine
from s1x.errors import SettingError, UserError
from s1x.model.chat_format import Chat
from s1x.rows import CUT, NATURAL, TRUNCATED

END = 7  # ends thinking
START = (END, world.ANSWER)
PROMPT = (50, 51)


def writes(script: dict[tuple[int, ...], tuple[int, ...]]) -> Bench:
    """An engine that writes the value after a prefix that ends in the key, then ends the turn."""

    def next_token(ids: Sequence[int], request: Request) -> int:
        for end in range(len(ids), 0, -1):
            written = tuple(ids[end:])
            for key in sorted(script, key=len, reverse=True):
                after, text = tuple(ids[:end])[-len(key) :] == key, script[key]
                if after and len(written) < len(text) and text[: len(written)] == written:
                    return text[len(written)]
        return world.END_OF_TURN

    return Bench.of(ScriptedEngine(next_token))


def run(bench: Bench, policy: Policy, context_tokens: int = 500) -> Trace:
    return bench.run([policy], Chat(chat_format((END,), context_tokens), PROMPT))[0]


def test_natural_end_forces_the_delimiter_only() -> None:
    bench = writes({PROMPT: (20, 21, END), START: (30, 31)})
    trace = run(bench, Unlimited())
    assert trace.token_ids == [20, 21, *START, 30, 31]
    assert trace.forced == [False, False, False, True, False, False]  # it wrote END itself
    assert (trace.outcome.end_reason, trace.part_tokens[CUE]) == (NATURAL, 0)


def test_a_cut_forces_newline_delimiter_and_cue() -> None:
    bench = writes({PROMPT: (20, 21, 22, END), (*START, world.CUE): (30,)})
    trace = run(bench, BudgetForcing(max_thinking_tokens=2))
    assert trace.token_ids == [20, 21, world.NEWLINE, *START, world.CUE, 30]
    assert trace.outcome.end_reason == CUT
    assert (trace.part_tokens[ANSWER], trace.answer_ids) == (1, [world.CUE, 30])


def test_a_cut_at_a_line_end_adds_no_newline() -> None:
    trace = run(writes({PROMPT: (20, world.NEWLINE, 22)}), BudgetForcing(max_thinking_tokens=2))
    assert trace.token_ids[:4] == [20, world.NEWLINE, *START]


def test_no_thinking_at_all_is_a_cut_of_nothing() -> None:
    trace = run(writes({(*START, world.CUE): (30,)}), BudgetForcing(max_thinking_tokens=0))
    assert trace.token_ids == [*START, world.CUE, 30]
    assert (trace.thinking_ids, trace.outcome.end_reason) == ([], CUT)


def test_empty_natural_thinking_ends_naturally() -> None:
    trace = run(writes({PROMPT: (END,), START: (30,)}), Unlimited())
    assert (trace.thinking_ids, trace.outcome.end_reason) == ([], NATURAL)


def test_the_end_of_the_turn_ends_thinking_too() -> None:
    trace = run(writes({PROMPT: (20, world.END_OF_TURN), START: (30,)}), Unlimited())
    assert trace.token_ids == [20, *START, 30]
    assert trace.forced == [False, True, True, False]


def test_wait_replaces_the_end() -> None:
    bench = writes({PROMPT: (20, END), (20, world.WAIT): (21, END), START: (30,)})
    trace = run(bench, BudgetForcing(num_waits=1))
    assert trace.token_ids == [20, world.WAIT, 21, *START, 30]
    assert (trace.outcome.num_waits, trace.forced[1]) == (1, True)


def test_a_wait_that_does_not_fit_is_not_put_in() -> None:
    bench = writes({PROMPT: (20, 21, END), START: (30,)})
    trace = run(bench, BudgetForcing(num_waits=1, max_thinking_tokens=3))
    assert trace.thinking_ids == [20, 21]
    assert (trace.outcome.num_waits, trace.outcome.end_reason) == (0, NATURAL)


def test_without_a_string_the_end_is_only_banned() -> None:
    def next_token(ids: Sequence[int], request: Request) -> int:
        return 22 if END in request.ban_first and len(ids) == len(request.prefix_ids) else END

    trace = run(Bench.of(ScriptedEngine(next_token)), BudgetForcing(num_waits=2, wait_string=""))
    assert trace.thinking_ids == [22, 22]
    assert trace.outcome.num_waits == 2


def test_the_minimum_waits_until_it_is_reached() -> None:
    bench = writes({PROMPT: (20, END), (world.WAIT,): (21, 22, END), START: (30,)})
    trace = run(bench, BudgetForcing(min_thinking_tokens=6))
    assert trace.thinking_ids == [20, world.WAIT, 21, 22, world.WAIT, 21, 22]
    assert trace.outcome.num_waits == 2


def test_context_overflow_is_truncated() -> None:
    # context 20 - prompt 2 - newline 1 - delimiter 2 - cue 1 - reserve 4 = 10 thinking tokens
    bench = writes({PROMPT: tuple(range(20, 90))})
    trace = run(bench, BudgetForcing(max_thinking_tokens=50, answer_reserve_tokens=4), 20)
    assert len(trace.thinking_ids) == 10
    assert trace.outcome.end_reason == TRUNCATED


@pytest.mark.parametrize(("limit", "cut"), [(1, True), (2, True), (3, False), (None, False)])
def test_an_answer_that_comes_to_its_limit_is_cut(limit: int | None, cut: bool) -> None:
    bench = writes({PROMPT: (20, END), START: (30, 31)})
    trace = run(bench, Unlimited(max_answer_tokens=limit))
    assert trace.answer_cut == cut
    assert trace.outcome.end_reason == NATURAL
    direct = run(writes({PROMPT: (30, 31)}), DirectAnswer(max_answer_tokens=limit))
    assert direct.answer_cut == cut


def test_an_answer_without_a_limit_has_what_the_context_leaves() -> None:
    bench = writes({PROMPT: (20, END), START: tuple(range(200, 300))})
    trace = run(bench, Unlimited(max_answer_tokens=None, answer_reserve_tokens=8), 60)
    assert len(PROMPT) + len(trace.token_ids) == 60
    assert trace.answer_cut


@pytest.mark.parametrize("context_tokens", [1, 2, 3, 5, 8])
def test_a_prompt_past_the_context_leaves_an_empty_answer(context_tokens: int) -> None:
    bench = writes({PROMPT: (20, 21)})
    chat = Chat(chat_format((END,), context_tokens), PROMPT)
    trace = bench.run([Unlimited()], chat)[0]
    assert trace.thinking_ids == []
    assert trace.outcome.end_reason == TRUNCATED


def test_flips_are_the_answers_of_the_points_with_fewer_waits() -> None:
    bench = writes(
        {PROMPT: (20, END), (20, world.WAIT): (21, END), (20, *START): (30,), (21, *START): (31,)}
    )
    trace = run(bench, BudgetForcing(num_waits=1, count_flips=True))
    assert trace.probes == [(1, (30,))]
    assert trace.token_ids == [20, world.WAIT, 21, *START, 31]
    before = bench.engine.usage.generated_tokens
    assert run(bench, BudgetForcing()).answer_ids == [30]
    assert bench.engine.usage.generated_tokens == before


LINE = (20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, world.NEWLINE, 32, END)


def closed(
    closing: str, limit: int | None, script: tuple[int, ...] = LINE, context: int = 500
) -> Trace:
    policy = BudgetForcing(max_thinking_tokens=limit, closing=closing, closing_sentence="Wait")
    return run(writes({PROMPT: script, (*START, world.CUE): (40,), START: (41,)}), policy, context)


def test_a_sentence_closes_thinking_outside_the_limit() -> None:
    trace = closed("sentence", 2)
    sentence = list(encode("Wait\n"))
    assert trace.token_ids == [20, 21, world.NEWLINE, *sentence, *START, world.CUE, 40]
    assert (trace.part_tokens["thinking"], sum(trace.forced)) == (2, len(sentence) + 4)
    assert closed("sentence", None).token_ids == closed("delimiter", None).token_ids
    # nor does it take room that the context has not
    squeezed = closed("sentence", 10, context=2 + 4 + 100 + 3)
    assert squeezed.token_ids[:4] == [20, 21, 22, world.NEWLINE]
    assert squeezed.token_ids[4:7] == [*START, world.CUE]


def test_thinking_goes_on_to_the_line_end_by_a_tenth_at_most() -> None:
    long = (*LINE[:9], 60, *LINE[9:])
    assert closed("line_end", 10).thinking_ids == list(LINE[:11]), "a tenth of 10 is one more"
    far = tuple(range(20, 50))
    assert closed("line_end", 25, far).thinking_ids == list(far[:27])
    found = closed("line_end", 20, (*range(20, 41), world.NEWLINE, 50))
    assert found.thinking_ids == [*range(20, 41), world.NEWLINE]
    assert found.token_ids[22:24] == list(START), "the line has ended: no newline is forced"
    assert not any(found.forced[:22])
    assert found.outcome.end_reason == CUT
    at_end = closed("line_end", 12)
    assert at_end.thinking_ids == list(LINE[:12]), "it stands at a line's end already"
    assert closed("line_end", 13, long).thinking_ids == list(long[:13])


def test_a_model_that_ends_within_the_tenth_has_ended_by_itself() -> None:
    trace = closed("line_end", 20, (*range(20, 41), END))
    assert (trace.thinking_ids, trace.outcome.end_reason) == ([*range(20, 41)], NATURAL)
    assert trace.token_ids[21:] == [*START, 41]


def test_closing_never_leaves_the_context() -> None:
    trace = closed("line_end", None, tuple(range(20, 90)), context=2 + 4 + 100 + 30)
    assert (len(trace.thinking_ids), trace.outcome.end_reason) == (30, TRUNCATED)


def test_a_promise_holds_what_closing_may_add() -> None:
    at_line_end: dict[str, Any] = {"closing": "line_end"}
    for policy, limits in (
        (BudgetForcing(max_thinking_tokens=58, **at_line_end), (None, 63)),
        (BudgetForcing(max_thinking_tokens=58), (None, 58)),
        (BudgetForcing(**at_line_end), (None, None)),
        (TokenConditional(max_thinking_tokens=64, force=True, **at_line_end), (None, 70)),
        (TokenConditional(max_thinking_tokens=64, **at_line_end), (None, 64)),
        (StepConditional(max_steps=2, step_tokens=20, force=True, **at_line_end), (None, 44)),
        (EarlyExit(max_thinking_tokens=58, **at_line_end), (None, 63)),
    ):
        assert policy.limits() == limits
    with pytest.raises(SettingError, match="closing must be one of delimiter, sentence, line_end"):
        BudgetForcing(closing="abrupt")
    with pytest.raises(SettingError, match="closing_sentence must be a sentence"):
        BudgetForcing(closing="sentence", closing_sentence=" ")


@pytest.mark.parametrize("closing", CLOSINGS)
def test_closings_share_the_tokens_up_to_the_limit(closing: str) -> None:
    bench = Bench.random(40)
    chat = Chat(chat_format((END,), 500), PROMPT)
    plain, other = bench.run(
        [BudgetForcing(max_thinking_tokens=30, closing=how) for how in ("delimiter", closing)], chat
    )
    assert other.thinking_ids[: len(plain.thinking_ids)] == plain.thinking_ids


@pytest.mark.parametrize(("natural", "waits"), [(2, 0), (5, 3), (20, 0)])
def test_wait_window_waits_only_inside_the_window(natural: int, waits: int) -> None:
    script = {PROMPT: (*range(20, 20 + natural), END), (world.WAIT,): (80, END), START: (30,)}
    policy = WaitWindow(low_thinking_tokens=3, high_thinking_tokens=10, target_thinking_tokens=10)
    trace = run(writes(script), policy)
    assert trace.outcome.num_waits == waits
    assert len(trace.thinking_ids) == natural + 2 * waits


def test_wait_window_has_a_cap() -> None:
    script = {PROMPT: (20, 21, END), (world.WAIT,): (80, END)}
    policy = WaitWindow(
        low_thinking_tokens=0,
        high_thinking_tokens=10,
        target_thinking_tokens=100,
        max_waits=4,
    )
    assert run(writes(script), policy).outcome.num_waits == 4


def test_conditional_policies_tell_their_limit() -> None:
    assert TokenConditional(max_thinking_tokens=64).user_turn("Q?") == (
        "Q?\nThink for up to 64 tokens."
    )
    assert StepConditional(max_steps=4).user_turn("Q?") == "Q?\nThink for up to 4 steps."
    long = ClassConditional(thinking_class="long").user_turn("Q?")
    assert long.startswith("Q?\nAnswer after a long amount of thinking.")
    for silent in (TokenConditional(), StepConditional(), ClassConditional()):
        assert silent.user_turn("Q?") == "Q?"


def test_token_conditional_forces_only_when_asked() -> None:
    script = {PROMPT: (20, 21, 22, END)}
    told = run(writes(script), TokenConditional(max_thinking_tokens=2))
    forced = run(writes(script), TokenConditional(max_thinking_tokens=2, force=True))
    assert (len(told.thinking_ids), told.outcome.end_reason) == (3, NATURAL)
    assert (len(forced.thinking_ids), forced.outcome.end_reason) == (2, CUT)


def header(steps_left: int) -> tuple[int, ...]:
    return encode(formats.step_header(steps_left))


def test_forced_steps_count_down_and_end() -> None:
    script = {
        (*PROMPT, *header(2)): (20, world.NEWLINE, *header(1)),  # writes the next header itself
        header(1): (21,) * 40,
    }
    trace = run(writes(script), StepConditional(max_steps=2, step_tokens=40, force=True))
    first = [*header(2), 20, world.NEWLINE]
    assert trace.thinking_ids[: len(first)] == first
    assert trace.thinking_ids[len(first) :][: len(header(1))] == list(header(1))
    assert not any(trace.forced[len(first) : len(first) + len(header(1))])
    assert trace.thinking_ids.count(21) == 40 - len(header(1))
    assert trace.outcome.end_reason == CUT


def test_forced_steps_may_end_early() -> None:
    trace = run(
        writes({header(3): (20, END), START: (30,)}), StepConditional(max_steps=3, force=True)
    )
    assert trace.thinking_ids == [*header(3), 20]
    assert trace.outcome.end_reason == NATURAL


def sampled_lengths(lengths: Sequence[int]) -> Bench:
    """Each new seed thinks for the next of the lengths."""
    seeds: list[int] = []

    def next_token(ids: Sequence[int], request: Request) -> int:
        if tuple(request.prefix_ids[: len(PROMPT) + 1])[len(PROMPT) :] and END in ids:
            return world.END_OF_TURN
        if request.sampling.seed not in seeds:
            seeds.append(request.sampling.seed)
        length = lengths[seeds.index(request.sampling.seed)]
        return 20 if len(ids) - len(PROMPT) < length else END

    return Bench.of(ScriptedEngine(next_token))


def test_rejection_sampling_keeps_the_first_that_fits() -> None:
    trace = run(sampled_lengths([9, 8, 3, 1]), RejectionSampling(max_thinking_tokens=4))
    assert (len(trace.thinking_ids), trace.outcome.num_tries) == (3, 3)
    assert trace.outcome.end_reason == NATURAL


def test_rejection_sampling_has_a_cap() -> None:
    policy = RejectionSampling(max_thinking_tokens=4, max_tries=2)
    trace = run(sampled_lengths([9, 8, 3]), policy)
    assert (len(trace.thinking_ids), trace.outcome.num_tries) == (4, 2)
    assert trace.outcome.end_reason == CUT


def test_rejection_at_every_limit_reads_the_same_samples() -> None:
    bench = sampled_lengths([9, 8, 3, 1])
    chat = Chat(chat_format((END,), 500), PROMPT)
    limits = (8, 4, 9, 10)
    traces = bench.run([RejectionSampling(max_thinking_tokens=k) for k in limits], chat)
    assert [len(trace.thinking_ids) for trace in traces] == [3, 3, 8, 9]


def test_early_exit_stops_when_the_answer_stays() -> None:
    cut = (world.NEWLINE, *START, world.CUE)
    script: dict[tuple[int, ...], tuple[int, ...]] = {PROMPT: tuple(range(20, 60)), cut: (31,)}
    script[(21, *cut)] = (30,)  # after two tokens it says something else
    policy = EarlyExit(check_every_tokens=2, num_unchanged_checks=2)
    trace = run(writes(script), policy)
    assert [(n, ids[-1]) for n, ids in trace.probes] == [(2, 30), (4, 31), (6, 31), (8, 31)]
    assert len(trace.thinking_ids) == 8
    assert trace.answer_ids == [world.CUE, 31]


@pytest.mark.parametrize(
    ("words", "exit_tokens"), [([], 6), (["x", "32"], 12), (["3"], 6), (["31"], 20)]
)
def test_an_answer_with_an_uncertainty_word_confirms_nothing(
    words: list[str], exit_tokens: int
) -> None:
    """Answers are 31 32 after 2, 4 and 6 tokens and 31 later; words are read whole."""
    cut = (world.NEWLINE, *START, world.CUE)
    script: dict[tuple[int, ...], tuple[int, ...]] = {PROMPT: tuple(range(20, 60)), cut: (31,)}
    script |= {(last, *cut): (31, 32) for last in (21, 23, 25)}
    policy = EarlyExit(check_every_tokens=2, uncertainty_words=words, max_thinking_tokens=20)
    assert len(run(writes(script), policy).thinking_ids) == exit_tokens


def test_uncertainty_words_are_whole_words_in_any_case() -> None:
    policy = EarlyExit(uncertainty_words=["wait", "No"])
    said = {"WAIT, 7": True, "it is 7, no?": True, "nothing": False, "no7": False, "7": False}
    assert {text: policy._is_unsure(text.casefold()) for text in said} == said
    with pytest.raises(SettingError, match="uncertainty_words must be words"):
        EarlyExit(uncertainty_words=["wait", " "])


def test_early_exit_leaves_a_natural_end_alone() -> None:
    trace = run(writes({PROMPT: (20, END), START: (30,)}), EarlyExit(check_every_tokens=5))
    assert (trace.probes, trace.outcome.end_reason) == ([], NATURAL)


def test_direct_answer_thinks_nothing() -> None:
    trace = run(writes({PROMPT: (30, 31)}), DirectAnswer())
    assert (trace.token_ids, trace.thinking_ids) == ([30, 31], [])


CURVE = {"max_thinking_tokens": [8, 16, None], "num_waits": [0, 1, 2], "other": [1]}


def test_points_turn_one_setting_after_another() -> None:
    labels = [point.label() for point in points(BudgetForcing(), CURVE)]
    assert labels == ["max 8", "max 16", "natural", "Wait x 1", "Wait x 2"]


def test_later_settings_turn_at_the_last_value_of_the_earlier() -> None:
    curve = {"max_thinking_tokens": [8, 512], "num_waits": [0, 2]}
    labels = [point.label() for point in points(BudgetForcing(), curve)]
    assert labels == ["max 8", "max 512", "max 512, Wait x 2"]


def test_a_setting_set_by_hand_is_one_point() -> None:
    assert points(BudgetForcing(num_waits=3), CURVE) == [BudgetForcing(num_waits=3)]
    assert points(BudgetForcing(), None) == [BudgetForcing()]
    assert points(EarlyExit(), None) == [EarlyExit()]
    assert [p.label() for p in points(Unlimited(), CURVE)] == ["natural"]


@pytest.mark.parametrize("scale", ["laptop", "h100x16"])
@pytest.mark.parametrize("name", ["wait_window", "early_exit"])
def test_lengths_follow_the_scale(name: str, scale: str) -> None:
    from hydra import compose, initialize_config_dir

    from s1x.compose import CONF, register
    from s1x.config import load

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = load(compose("config", overrides=[f"budget={name}", f"scale={scale}"]))
    chosen = points(config.budget, config.curve)
    assert len(chosen) > 3
    laptop = scale == "laptop"
    if isinstance(config.budget, WaitWindow):
        assert (config.budget.low_thinking_tokens, config.budget.high_thinking_tokens) == (
            (16, 64) if laptop else (512, 8192)
        )
    else:
        assert config.budget.check_every_tokens == (8 if laptop else 256)


def test_class_conditional_has_a_curve_of_its_own() -> None:
    assert [p.label() for p in points(ClassConditional(), CURVE)] == ["short", "none", "long"]


def test_wrong_settings_name_key_and_remedy() -> None:
    with pytest.raises(SettingError, match=r"num_waits must be 0 or more.*budget=unlimited"):
        BudgetForcing(num_waits=-1)
    with pytest.raises(SettingError, match="min_thinking_tokens must be 5"):
        BudgetForcing(max_thinking_tokens=5, min_thinking_tokens=6)
    with pytest.raises(UserError, match=r"curve\.num_waits must be 0 or more"):
        points(BudgetForcing(), {"num_waits": [-1]})
    with pytest.raises(
        UserError,
        match=r"budget\.min_thinking_tokens must be 8 .*got 50; .*curve\.max_thinking_tokens=8",
    ):
        points(BudgetForcing(min_thinking_tokens=50), {"max_thinking_tokens": [8, 512]})
    with pytest.raises(UserError, match=r"curve\.num_waits has no values"):
        points(BudgetForcing(), {"num_waits": []})


def test_a_models_format_is_read_from_its_tokenizer() -> None:
    pytest.importorskip("transformers")
    from s1x.model.chat_format import ChatFormat
    from s1x.model.model import Model
    from s1x_puzzles.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    form = ChatFormat.of(Model(name="m", path="unused", context_tokens=64), tokenizer)
    start, end, text_end = tokenizer.convert_tokens_to_ids(
        ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    )
    assert form.thinking_stops == ((start,), (end,), (text_end,))
    assert form.answer_stops == ((end,), (text_end,))
    assert form.answer_start[0] == start
    assert form.decode(form.newline) == "\n"
    plain = form.plain_completion(tokenizer.all_special_ids)
    assert form.newline in plain.answer_stops
    assert (start,) in plain.answer_stops
    named = Model(name="m", path="unused", thinking_end="so near yes", end_of_turn="no no")
    assert [len(stop) for stop in ChatFormat.of(named, tokenizer).thinking_stops[:2]] == [3, 2]
