"""Extraction rules, each with its name."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.benchmark.extraction import extract
from s1x.benchmark.forms import normal_form

CASES = [
    (r"so \boxed{42}", "42", "boxed"),
    (r"\boxed{1} then, better: $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", "boxed"),
    (r"\boxed{\boxed{7}}", "7", "boxed"),
    (r"\boxed{3} and the cut one \boxed{4", "3", "boxed"),
    (r"\boxed 5", "5", "boxed"),
    (r"\fbox{6}", "6", "boxed"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "boxed"),
    (r"\boxed{2}, \boxed{3} and \boxed{5}", "2, 3, 5", "boxed"),
    (r"First \boxed{2}. Later \boxed{3}", "3", "boxed"),
    (r"\boxed{10} was wrong. Final Answer: 12", "12", "Final Answer:"),
    (r"Final Answer: it is \boxed{12}", "12", "boxed"),
    ("Final Answer: 42.", "42", "Final Answer:"),
    ("**Final Answer:** $x = 3$", "x = 3", "Final Answer:"),
    ("### Final Answer\n\nFinal answer:\n\n17\n", "17", "Final Answer:"),
    ("Final Answer:\n\\[\n\\frac{3}{4}\n\\]\nok", "\\frac{3}{4}", "Final Answer:"),
    ("Answer: 5\nmore\nAnswer: 6", "6", "Answer:"),
    ("Answer: 12 apples. I counted them twice.", "12 apples", "Answer:"),
    ("answer：8", "8", "Answer:"),
    ("The answer is 8", "8", "answer_is"),
    ("Final Answer:", None, None),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "answer", "rule"), CASES)
def test_rules(text: str, answer: str | None, rule: str | None) -> None:
    found = extract(text)
    assert (found and found.text, found and found.rule) == (answer, rule)


def test_rules_that_are_a_choice() -> None:
    assert extract("it is 1,204 or -3.5 then", ["last_number"]).text == "-3.5"
    assert extract("x5y 7z", ["last_number"]) is None
    assert extract("42\n", ["whole_text"]).text == "42"
    assert extract("line\nline", ["whole_text"]) is None
    assert extract("A: 18", ["A:"]).text == "18"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1,000", "1000.00"),
        ("073", "73"),
        ("−5", "-5"),
        ("+.5", "0.50"),
        ("-0", "0"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\dfrac{\pi}{2})"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"90^\circ", "90"),
        (r"$\frac12$", r"\tfrac12."),
        (r"10\%", "10%"),
    ],
)
def test_equal_normal_forms(left: str, right: str) -> None:
    assert normal_form(left) == normal_form(right)


@pytest.mark.parametrize(
    ("left", "right"), [("1/2", "0.5"), ("12", "1 2 3"), ("-5", "5"), ("A", "a")]
)
def test_different_normal_forms(left: str, right: str) -> None:
    assert normal_form(left) != normal_form(right)


@given(st.text(alphabet="\\boxedfinalanswer{}:$ \n*.0123456789-,", max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_and_the_form_is_stable(text: str) -> None:
    found = extract(text, ["boxed", "Final Answer:", "Answer:", "last_number"])
    if found is not None:
        assert found.text.strip()
        assert normal_form(normal_form(found.text)) == normal_form(found.text)


@pytest.mark.parametrize(
    "piece",
    ["\\", "\\boxed{", "{", "}", "Answer:", "answer ", "9", "$", " ", "\n", "**", "\\boxed{1}, "],
)
def test_a_megabyte_of_anything_is_read_in_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    found = extract(text, ["boxed", "Final Answer:", "Answer:", "last_number"])
    if found is not None:
        normal_form(found.text)
    assert time.process_time() - start < 6
