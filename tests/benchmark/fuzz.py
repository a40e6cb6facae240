"""Hostile answers for the graders, drawn from a seed: what a model might write, and worse."""

from __future__ import annotations

import random
from pathlib import Path


def hostile_answers(count: int, seed: int, trap: Path) -> list[str]:
    """Texts of every kind below, in turn; `trap` is a file that code among them would create."""
    rng = random.Random(seed)
    kinds = (
        *(_nested, _huge_powers, _backslashes, _code, _control, _scripts, _braces, _numbers),
        *(_random_latex, _dollars, _markers, _functions, _factorials, _sets, _matrices),
    )
    return [_dress(rng, kinds[i % len(kinds)](rng, trap)) for i in range(count)]


def _dress(rng: random.Random, body: str) -> str:
    frames = ("\\boxed{%s}", "Final Answer: %s", "Answer: $%s$", "%s", "$$%s$$", "\\[%s\\]")
    return rng.choice(frames).replace("%s", body)


def _nested(rng: random.Random, _: Path) -> str:
    depth = rng.choice([10, 100, 900, 20_000])
    opening, closing = rng.choice(
        [("(", ")"), ("\\frac{1}{", "}"), ("\\sqrt{", "}"), ("{", "}"), ("\\left(", "\\right)")]
    )
    return opening * depth + "x" + closing * depth


def _huge_powers(rng: random.Random, _: Path) -> str:
    digit = rng.randint(2, 9)
    return rng.choice(
        [
            "^".join([str(digit)] * rng.randint(3, 9)),
            f"{digit}^{{{digit}^{{{digit}^{{{digit}}}}}}}",
            f"{digit}**{10 ** rng.randint(3, 12)}",
            f"10^{{{10 ** rng.randint(5, 20)}}} + 1",
            f"({digit}^9999999) - ({digit}^9999998)",
            f"1e{10 ** rng.randint(3, 9)}",
        ]
    )


def _backslashes(rng: random.Random, _: Path) -> str:
    return "\\" * rng.choice([7, 1000, 1_000_000 if rng.random() < 0.02 else 10_000])


def _code(rng: random.Random, trap: Path) -> str:
    path = str(trap)
    return rng.choice(
        [
            f"__import__('os').system('touch {path}')",
            f"open('{path}','w').write('1')",
            f"exec(\"open('{path}','w')\")",
            f"().__class__.__base__.__subclasses__()[0]; open('{path}', 'a')",
            f"\\text{{__import__('pathlib').Path('{path}').touch()}}",
            f"lambda: __import__('subprocess').run(['touch', '{path}'])",
            f"Integer(open('{path}','w').fileno())",
            f"$(touch {path})`touch {path}`; touch {path}",
            f'1 + eval(\'open("{path}","w")\')',
            f"\\input{{{path}}} \\write18{{touch {path}}}",
            "<script>alert(1)</script>",
        ]
    )


def _control(rng: random.Random, _: Path) -> str:
    return "".join(chr(rng.choice([*range(32), 0x7F, 0x200B, 0x202E])) for _ in range(50)) + "5"


def _scripts(rng: random.Random, _: Path) -> str:
    alphabets = ("答案是四十二。", "الجواب هو ٤٢", "उत्तर ४२ है", "ответ сорок два", "𝟜𝟚²³", "Ｆ４２")
    return rng.choice(alphabets) * rng.randint(1, 40)


def _braces(rng: random.Random, _: Path) -> str:
    return "".join(rng.choice("{}[]()\\$%^_&#~") for _ in range(rng.choice([5, 60, 3000])))


def _numbers(rng: random.Random, _: Path) -> str:
    return rng.choice(["-", ""]) + "".join(
        rng.choice("0123456789") for _ in range(rng.choice([3, 400, 5000, 100_000]))
    )


def _random_latex(rng: random.Random, _: Path) -> str:
    tokens = (
        *("\\frac", "\\sqrt", "{", "}", "x", "y", "^", "_", "+", "-", "=", "\\le", "\\in", "\\cup"),
        *(
            "\\int",
            "\\sum",
            "\\infty",
            "(",
            ")",
            "[",
            "]",
            ",",
            "1",
            "23",
            "\\pi",
            "\\text{ab}",
            "!",
        ),
    )
    return " ".join(rng.choice(tokens) for _ in range(rng.choice([3, 12, 60])))


def _dollars(rng: random.Random, _: Path) -> str:
    return "".join(rng.choice(["$", "$$", "x", "1", " ", "\n", "\\$"]) for _ in range(400))


def _markers(rng: random.Random, _: Path) -> str:
    return "".join(
        rng.choice(["Final Answer:", "Answer:", "\\boxed{", "}", " 7", "\n", "answer is "])
        for _ in range(rng.choice([10, 2000]))
    )


def _functions(rng: random.Random, _: Path) -> str:
    name = rng.choice(["\\sin", "\\log", "\\Gamma", "\\exp", "\\tan", "\\arctan", "\\zeta"])
    return (
        f"{name}({name}({name}(10^{{{rng.randint(1, 60)}}} x))) - \\int_0^{{10^9}} {name}(t^x) dt"
    )


def _factorials(rng: random.Random, _: Path) -> str:
    return rng.choice(["9999999!", "((9!)!)!", "\\binom{99999999}{44444444}", "100000!! + 3"])


def _sets(rng: random.Random, _: Path) -> str:
    items = ", ".join(str(rng.randint(-99, 99)) for _ in range(rng.choice([3, 60, 300])))
    return "\\{" + items + "\\}"


def _matrices(rng: random.Random, _: Path) -> str:
    size = rng.choice([2, 5, 14])
    rows = [" & ".join(f"x^{rng.randint(1, 9)}" for _ in range(size)) for _ in range(size)]
    return "\\det \\begin{pmatrix}" + " \\\\ ".join(rows) + "\\end{pmatrix}^{99}"
