"""Steps one by one, on rows small enough to see what must go."""

from __future__ import annotations

import random
import re
from typing import Any

import polars as pl
import pytest
from small_pools import details, kept, problems, reasons

from s1x.errors import SettingError, UserError
from s1x.selection.agreement import answer_value, most_common

S1_HEADING = re.compile(r"\*\*(?=.*\d)[^\s\]]*\*\*")


def test_missing_texts_and_features(apply: Any) -> None:
    columns = {
        "question": ["q"] * 6,
        "reasoning_trace": ["t", None, "", " \n ", "t", "t"],
        "attempt": ["a", "a", "a", "a", "\u3000", "a"],
        "is_correct_small": [False, True, True, True, True, None],
        "is_correct_large": [None] * 6,
        "domain": ["d"] * 6,
    }
    notes: list[str] = []
    choice = apply(columns, {"step": "missing"}, notes=notes)
    assert kept(choice) == [0]
    assert reasons(choice) == {"no reasoning_trace": 3, "no attempt": 1, "no is_correct_small": 1}
    assert notes == ["missing: is_correct_large is null in every row, so it is not asked for"]


FORMATS = [
    "plain question about p and q",
    "[asy] draw [/asy]",
    "see ![Image](x)",
    "from p7. of the book",
    "p1000. is no reference",
    "p0. neither",
    "**1.** heading",
    "**bold** 12 later on the line",
    "**bold**\n12 on the next",
    "** 1 ** spaces",
    "**a]1** bracket",
    "a ** b ** c 3",
    "****5",
    "**٣.** other digits",
    "**a\u00a0b** 1",
]


def test_format_follows_the_notebook_to_the_letter(apply: Any) -> None:
    def notebook_keeps(question: str, source: str) -> bool:
        plain = (
            "[asy]" not in question
            and "![Image]" not in question
            and not any(f"p{i}." in question for i in range(1, 1000))
            and not S1_HEADING.search(question)
        )
        return plain or ("[asy]" in question and "AIME" in source)

    rng = random.Random(0)
    pieces = [*FORMATS, "*", "**", "1", "]", " ", "\n", "x"]
    made = ["".join(rng.choices(pieces, k=rng.randint(1, 4))) for _ in range(3000)]
    questions = [*FORMATS, *made]
    sources = [rng.choice(["qq8933/AIME_1983_2024", "other"]) for _ in questions]
    choice = apply({"question": questions, "source": sources}, {"step": "format"})
    expected = [i for i, q in enumerate(questions) if notebook_keeps(q, sources[i])]
    assert kept(choice) == expected
    assert 100 < len(expected) < 2500


def test_wrong_attempts_by_verdict_and_by_grading(apply: Any) -> None:
    columns = {
        "question": ["q"] * 5,
        "solution": ["#### 5", "so \\boxed{5}", "5", "5", None],
        "attempt": ["\\boxed{5}", "\\boxed{6}", "\\boxed{5}", "no idea at all", "\\boxed{1}"],
        "attempt_is_correct": [None, None, False, None, None],
    }
    choice = apply(columns, {"step": "wrong_attempts", "grader": "exact"})
    assert kept(choice) == [0]
    assert reasons(choice) == {"wrong attempt": 3, "attempt cannot be judged": 1}
    choice = apply(columns, {"step": "wrong_attempts", "grade": False, "keep_unknown": True})
    assert kept(choice) == [0, 1, 3, 4]


def test_trace_length_uses_the_pools_counts_and_counts_the_rest(apply: Any) -> None:
    columns = {
        "question": ["q"] * 4,
        "reasoning_trace": ["a b c", "a b c d e", "x", None],
        "trace_tokens": [30, None, None, None],
    }
    counted: list[list[str]] = []

    def count(texts: list[str]) -> list[int]:
        counted.append(texts)
        return [len(t.split()) for t in texts]

    choice = apply(
        columns, {"step": "trace_length", "min_tokens": 1, "max_tokens": 10}, tokenizer=count
    )
    assert kept(choice) == [1, 2]
    assert reasons(choice) == {"trace under 1 tokens": 1, "trace over 10 tokens": 1}
    assert counted == [["a b c d e", "x", ""]]
    with pytest.raises(UserError, match="no trace_tokens and no tokenizer"):
        apply(columns, {"step": "trace_length"})


def test_truncated(apply: Any) -> None:
    columns = {
        "question": ["q"] * 4,
        "reasoning_trace": ["It is 5.", "so $x$", "and then we", "是的。"],
        "finish_reason": ["stop", "length", "stop", None],
    }
    assert kept(apply(columns, {"step": "truncated"})) == [0, 2, 3]
    assert kept(apply(columns, {"step": "truncated", "by_ending": True})) == [0, 3]


def test_loops_are_found_by_repeated_passages(apply: Any) -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(400)]
    honest = " ".join(rng.choices(words, k=600))
    phrase = "so the answer must be forty two because "
    checks = " ".join(f"{phrase} {' '.join(rng.choices(words, k=25))}" for _ in range(20))
    loop = honest + " " + "wait let me compute that once more from the start " * 60
    chinese = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(600))
    columns = {
        "question": ["q"] * 6,
        "reasoning_trace": [honest, checks, loop, chinese, chinese + "比如，" * 300, "no " * 50],
    }
    choice = apply(columns, {"step": "looping"})
    assert kept(choice) == [0, 1, 3, 5]  # the last is too short to be judged
    assert details(choice)[2].endswith("of its passages stood before")


def test_language(apply: Any) -> None:
    english = (
        "We know that the sum of the two numbers is ten and so the first of them is four. " * 4
    )
    german = "Wir wissen, dass die Summe der beiden Zahlen zehn ist, also ist die erste vier. " * 4
    columns = {
        "question": ["q"] * 6,
        "reasoning_trace": [
            english,
            german,
            "因为两个数的和是十所以第一个数是四" * 5,
            "12 > 5 near",
            None,
            "это",
        ],
    }
    assert kept(apply(columns, {"step": "language"})) == [0, 3, 4]
    two = {"step": "language", "languages": ["de", "zh"]}
    assert 1 in kept(apply(columns, two))
    assert 2 in kept(apply(columns, two))
    with pytest.raises(SettingError, match=r"steps\[0\].languages must be of en, de"):
        apply(columns, {"step": "language", "languages": ["xx"]})


VERDICTS = {
    "question": [f"q{i}" for i in range(5)],
    "is_correct_a": [True, True, False, None, False],
    "is_correct_b": [True, False, False, None, True],
    "is_correct_c": [True, False, False, False, True],
}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [2, 3]),
        ({"min_right": None}, [1, 2, 3, 4]),
        ({"min_right": 2}, [1, 2, 3]),
        ({"solvers": ["a"]}, [2, 3, 4]),
        ({"solvers": ["a", "b"], "min_right": None}, [1, 2, 3, 4]),
    ],
)
def test_solved_by_any_all_or_so_many(apply: Any, options: dict[str, Any], left: list[int]) -> None:
    assert kept(apply(VERDICTS, {"step": "solved", **options})) == left


def test_solver_that_is_not_there_is_named(apply: Any) -> None:
    with pytest.raises(
        UserError, match=r"no column is_correct_d; map it with \+pool.columns.is_correct_d"
    ):
        apply(VERDICTS, {"step": "solved", "solvers": ["d"]})
    with pytest.raises(UserError, match="no column is_correct_<solver>"):
        apply({"question": ["q"]}, {"step": "solved"})


def test_several_models_rows_of_a_question_are_solvers(apply: Any) -> None:
    columns = {
        "question": ["q1", "q1", "q2 ", "Q2", "q3"],
        "model": ["a", "b", "a", "b", "a"],
        "attempt": ["\\boxed{1}", "\\boxed{2}", "\\boxed{0}", "\\boxed{9}", "\\boxed{3}"],
        "solution": ["1", "1", "2", "2", None],
    }
    assert kept(apply(columns, {"step": "solved", "grader": "exact"})) == [2, 3, 4]
    assert kept(apply(columns, {"step": "solved", "grader": "exact", "min_right": None})) == list(
        range(5)
    )
    assert kept(apply(columns, {"step": "agreement", "num_models": 2})) == list(range(5))


def test_agreement_of_answers_right_or_wrong(apply: Any) -> None:
    columns = {
        "question": [f"q{i}" for i in range(4)],
        "answer_a": ["1", "1", None, "x"],
        "answer_b": ["1 ", "1", None, "y"],
        "answer_c": ["2", "1", None, "x"],
    }
    assert kept(apply(columns, {"step": "agreement"})) == [0, 2, 3]
    choice = apply(columns, {"step": "duplicates"}, {"step": "agreement", "num_models": 2})
    assert kept(choice) == [2]
    assert pl.concat(choice.dropped).sort("row")["row"].to_list() == [0, 1, 3]
    notes: list[str] = []
    verdicts = {**VERDICTS, "attempt_is_correct": [True, True, True, True, True]}
    assert kept(apply(verdicts, {"step": "agreement"}, notes=notes)) == [1, 2, 3]
    assert "verdicts only" in notes[0]


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (["0.5", "1/2", r"\frac{1}{2}", r"$\dfrac12$", "2/4", r"\boxed{.50}"], "5"),
        (["1000", "1,000", "1,000.0", " 1 000 "], "100"),
        (["-3", "\u22123", "-3.", r"\boxed{-\frac{6}{2}}"], "3"),
        ([r"\text{east}", "east"], "west"),
        (["x+1", "x + 1"], "x-1"),
        (["7", "I add them all up, one by one, and so\nthe answer must be 7", "Answer: 7"], "8"),
    ],
)
def test_answers_agree_by_value(same: list[str], other: str) -> None:
    assert len({answer_value(text) for text in same}) == 1
    assert answer_value(other) != answer_value(same[0])
    assert most_common([*same, other, None, " "]) == len(same)


def test_hostile_answers_have_a_value() -> None:
    for text in ("1/0", r"\frac{1}{0}", "9" * 10_000, "\\" * 5000, r"\boxed{", "١٢", "²"):
        assert most_common([text, text]) == 2


def test_duplicates_keep_the_first_or_the_longest(apply: Any) -> None:
    columns = {
        "question": ["What is 2?", "what  is 2", "Other", " WHAT IS 2? ", "What is 3?"],
        "trace_tokens": [5, 9, 1, 9, 2],
    }
    assert kept(apply(columns, {"step": "duplicates"})) == [0, 2, 4]
    assert kept(apply(columns, {"step": "duplicates", "keep": "longest_trace"})) == [1, 2, 4]
    assert kept(apply(columns, {"step": "duplicates", "keep": "shortest_trace"})) == [0, 2, 4]


def test_near_duplicates_against_all_pairs(apply: Any) -> None:
    rng = random.Random(1)
    words = [f"w{i}" for i in range(300)]
    questions: list[str] = []
    for _ in range(400):
        if questions and rng.random() < 0.4:
            base = rng.choice(questions).split()
            for _ in range(rng.choice([0, 1, 1, 2, 6])):
                base[rng.randrange(len(base))] = rng.choice(words)
            questions.append(" ".join(base))
        else:
            questions.append(" ".join(rng.choices(words, k=rng.randint(2, 60))))

    def grams(text: str) -> set[tuple[str, ...]]:
        w = text.split()
        return {tuple(w[i : i + 3]) for i in range(max(len(w) - 2, 1))}

    expected: list[int] = []
    for i, question in enumerate(questions):
        own = grams(question)
        near = (grams(questions[j]) for j in expected)
        if not any(len(own & g) >= 0.8 * len(own | g) for g in near):
            expected.append(i)
    choice = apply({"question": questions}, {"step": "near_duplicates"})
    assert kept(choice) == expected
    assert 400 - len(expected) > 40
    gone = next(i for i in range(400) if i not in expected)
    assert details(choice)[gone].startswith("row ")


PHRASE = "where m and n are relatively prime positive integers"


def test_any_shared_ngram_and_the_phrase_that_is_no_evidence(apply: Any) -> None:
    benchmark = {
        "b": problems(f"Find x {PHRASE} and tell", "a b c d e f g h i j k l", "Short one?")
    }
    questions = [f"Number {i} of many {PHRASE} here" for i in range(12)]
    questions += [
        "x A B  c\nd e f G h y",
        "a b c d e f g x",
        "short   ONE",
        "short one more",
        "clean",
    ]
    step = {"step": "decontaminate"}
    choice = apply({"question": questions}, step, benchmarks=benchmark)
    assert kept(choice) == [13, 15, 16]
    assert reasons(choice) == {
        "a benchmark's question": 1,
        "shares an n-gram with a benchmark": 13,
    }
    assert details(choice)[12] == "b/1: “a b c d e f g h”"
    assert details(choice)[14] == "b/2"
    choice = apply({"question": questions}, {**step, "common_questions": 11}, benchmarks=benchmark)
    assert kept(choice) == [*range(12), 13, 15, 16]
    shared = choice.funnel[-1]["report"]["shared_ngrams"]
    assert shared[0] == {"ngram": PHRASE, "rows": 12, "counted": False} or not shared[0]["counted"]
    assert {"ngram": "a b c d e f g h", "rows": 1, "counted": True} in shared


def test_a_question_repeated_word_for_word_does_not_make_its_ngrams_common(apply: Any) -> None:
    benchmark = {"b": problems("a b c d e f g h i j k l")}
    questions = ["please a b c d e f g h now"] * 50
    choice = apply(
        {"question": [*questions, "other"]},
        {"step": "decontaminate", "common_questions": 5},
        benchmarks=benchmark,
    )
    assert kept(choice) == [50]


def test_share_of_a_problem(apply: Any) -> None:
    benchmark = {"b": problems(" ".join(f"w{i}" for i in range(17)))}  # ten 8-grams
    half = " ".join(f"w{i}" for i in range(12))  # five of them
    less = " ".join(f"w{i}" for i in range(11))
    columns = {"question": [half, less, f"{less} then {less}", "clean"]}
    step = {"step": "decontaminate", "rule": "share"}
    choice = apply(columns, step, benchmarks=benchmark)
    assert kept(choice) == [1, 2, 3]
    assert details(choice)[0].startswith("b/0: 5 of 10 n-grams, as “w0 w1")
    assert kept(apply(columns, {**step, "min_share": 0.4}, benchmarks=benchmark)) == [3]


def test_decontamination_without_benchmarks_says_so(apply: Any) -> None:
    notes: list[str] = []
    apply({"question": ["q"]}, {"step": "decontaminate"}, notes=notes)
    assert notes == ["decontaminate: the run has no benchmarks, nothing was compared"]
    step = {"step": "decontaminate", "benchmarks": ["x"]}
    with pytest.raises(SettingError, match="benchmarks must be of the run's"):
        apply({"question": ["q"]}, step, benchmarks={"b": problems("q")})


def test_domain_cap(apply: Any) -> None:
    columns = {
        "question": [f"q{i}" for i in range(7)],
        "domain": ["a", "a", "a", "b", None, None, "a"],
        "trace_tokens": [1, 5, 3, 2, 2, 9, 4],
    }
    step = {"step": "domain_cap", "max_rows": 2, "prefer": "longest_trace"}
    assert kept(apply(columns, step)) == [1, 3, 4, 5, 6]
    assert len(kept(apply(columns, {"step": "domain_cap", "max_rows": 1}))) == 3


def test_longest_and_random(apply: Any) -> None:
    columns = {
        "question": [f"q{i}" for i in range(50)],
        "trace_tokens": [i % 10 for i in range(50)],
    }
    assert kept(apply(columns, {"step": "longest"}, size=5)) == [9, 19, 29, 39, 49]
    draws = [kept(apply(columns, {"step": "random"}, size=5, seed=seed)) for seed in range(40)]
    assert len({tuple(d) for d in draws}) > 35
    assert all(len(set(d)) == 5 for d in draws)


def test_more_rows_than_are_left_is_one_clear_sentence(apply: Any) -> None:
    columns = {"question": ["q1", "q1", "q2"], "domain": ["a", "a", "b"]}
    for step in ("random", "domain_draw"):
        with pytest.raises(UserError) as error:
            apply(columns, {"step": "duplicates"}, {"step": step}, size=3)
        assert "selection.size must be 2 or less, got 3" in str(error.value)
        assert "set selection.size=2" in str(error.value)
    with pytest.raises(
        UserError, match=r"null in a recipe without a drawing step \(3 rows are left\)"
    ):
        apply(columns, {"step": "format"}, size=2)


def test_nothing_left_names_the_step(apply: Any) -> None:
    columns = {"question": ["q"], "is_correct_a": [True]}
    with pytest.raises(UserError, match=r"left after the step solved \(1 solved by a\); loosen it"):
        apply(columns, {"step": "solved"})
