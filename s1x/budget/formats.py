"""How a budget is told to a model: the texts, one place for training and for inference.

Token-conditional (paper, appendix E.1): the user's turn ends in "Think for up to N tokens."; in
training N is the trace's length rounded up to a power of two. Step-conditional: "Think for up to N
steps."; a trace is cut at newlines into steps of at most `STEP_TOKENS` tokens and each step opens
with a line that says how many steps are left, itself included, counted down to 1. Departure from
s1: the header is a plain line of its own, not a turn opened with the delimiter, so that the
delimiter keeps its one meaning, the end of thinking, whatever model it is. Another: the
instruction stands one line break after the question, in training and evaluation alike (s1's
evaluation puts two). Class-conditional: one of two instructions, for a model that was not trained
on them.
"""

from __future__ import annotations

STEP_TOKENS = 100
"""Longest step, its header included, in tokens."""

SHORT_INSTRUCTION = (
    "Answer after a short amount of thinking. "
    "Do not spend excessive time double-checking your work."
)
LONG_INSTRUCTION = (
    "Answer after a long amount of thinking. If you feel like you are finished early, spend the "
    "extra time trying to double-check your work until you are absolutely sure that you have the "
    "correct answer."
)
CLASS_INSTRUCTIONS = {"none": "", "short": SHORT_INSTRUCTION, "long": LONG_INSTRUCTION}


def told(question: str, instruction: str) -> str:
    """The user's turn: the question, and the instruction on a line of its own."""
    return f"{question}\n{instruction}" if instruction else question


def token_instruction(max_thinking_tokens: int) -> str:
    """Tells a limit in tokens."""
    return f"Think for up to {max_thinking_tokens} tokens."


def step_instruction(num_steps: int) -> str:
    """Tells a limit in steps."""
    return f"Think for up to {num_steps} steps."


def step_header(steps_left: int) -> str:
    """The line that opens a step; `steps_left` counts the step itself."""
    return f"{steps_left} steps left\n"
