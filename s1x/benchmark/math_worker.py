"""The process that compares mathematical answers: math-verify, locked up.

Before the first job it imports all it needs, warms up, and then gives up what it must not do:
memory beyond a limit, writing files, new processes, the network, running text as code. Those
limits are the operating system's where it has them (setrlimit) and an audit hook's elsewhere.
One job a line: {"gold", "text", "kind", "options"} in, {"verdict", "extracted", "reason"} out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from s1x.benchmark.equality import Equality
from s1x.benchmark.extraction import is_prose
from s1x.benchmark.latex import typed
from s1x.rows import CORRECT, UNANSWERED, UNGRADED, WRONG

#: what may be compiled from text: numbers, operators, and the names sympy's reader puts there
_HARMLESS = re.compile(r"from sympy import \*|(?:[\s\d.+\-*/(),'e]|Integer|Float|Rational)*")
#: files of sympy that make code of their own, from numbers of variables and never from text
_CODE_GENERATORS = (os.path.join("sympy", "polys", "monomials.py"),)


_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,} +[A-Za-z]{3,} ")
FORMULA, WHOLE = "formula", "whole"


class OutOfTime(BaseException):
    """The time limit has passed; no `except Exception` of a library can swallow it."""


class Sandbox:
    """What the process may no longer do, and what it tried."""

    def __init__(self) -> None:
        self.readable = tuple({sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)})
        self.violation: str | None = None

    def lock(self, memory_limit_bytes: int) -> None:
        """From here on: no writing, no processes, no network, limited memory."""
        import resource

        limits = {
            resource.RLIMIT_AS: memory_limit_bytes,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NPROC: 0,
        }
        for kind, most in limits.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (most, most))
        sys.dont_write_bytecode = True
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(arguments[0], str) and arguments[0].startswith("<"):
                raise FileNotFoundError(arguments[0])  # a syntax error looks for its source's line
            allowed = self._may_open(*arguments)
        elif event == "compile":
            allowed = self._may_compile(*arguments)
        else:
            allowed = not event.startswith(_FORBIDDEN)
        if not allowed:
            self.violation = f"{event} {arguments[:1]!r:.80}"
            raise PermissionError(f"{event} is not allowed here")

    def _may_open(self, path: object, mode: object, flags: object) -> bool:
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if isinstance(flags, int) and flags & writing:
            return False
        return isinstance(path, str) and os.path.realpath(path).startswith(self.readable)

    def _may_compile(self, source: object, filename: object) -> bool:
        if not isinstance(source, (str, bytes)) or str(filename).startswith(self.readable):
            return True  # code objects, and syntax trees, whose text was judged when it was read
        if sys._getframe(2).f_code.co_filename.endswith(_CODE_GENERATORS):
            return True
        text = source.decode(errors="replace") if isinstance(source, bytes) else source
        return _HARMLESS.fullmatch(text) is not None


_FORBIDDEN = (
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.remove", "os.rename"),
    *("os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("os.putenv", "os.unsetenv", "os.kill", "os.chdir", "os.utime", "os.setxattr"),
    *("subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "urllib.", "http.", "ftplib."),
    *("webbrowser.", "tempfile.", "sqlite3.", "mmap.", "code.__new__", "pickle."),
)


def main() -> None:
    """Answers jobs until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    settings = json.loads(requests.readline())
    sys.setrecursionlimit(3000)
    grader = _Comparison()
    sandbox = Sandbox()
    sandbox.lock(int(settings["memory_limit_bytes"]))
    _send(replies, {"ready": True})
    for line in requests:
        _send(replies, _answer(grader, sandbox, json.loads(line), settings["time_limit_seconds"]))


def _send(replies: BinaryIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _answer(
    grader: _Comparison, sandbox: Sandbox, job: dict[str, Any], seconds: float
) -> dict[str, Any]:
    sandbox.violation = grader.trouble = None
    try:
        with _time_limit(seconds):
            reply = grader.compare(**job)
    except OutOfTime:
        return {"verdict": UNGRADED, "reason": f"comparing took more than {seconds:g} s"}
    except MemoryError:
        return {"verdict": UNGRADED, "reason": "comparing took more memory than its limit"}
    except RecursionError:
        return {"verdict": UNGRADED, "reason": "nested too deeply to be compared"}
    except Exception as error:
        return {"verdict": UNGRADED, "reason": f"the engine failed: {type(error).__name__}"}
    trouble = sandbox.violation and f"tried something forbidden: {sandbox.violation}"
    trouble = trouble or grader.trouble
    if trouble and reply["verdict"] != CORRECT:
        reply.update(verdict=UNGRADED, reason=trouble)
    return reply


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    # no Python runs during one long operation on big numbers: this timer's default action ends the
    # process then, even where nobody is left to kill it
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + 2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


class _Comparison:
    """math-verify. `trouble` says what its own error handling hid."""

    def __init__(self) -> None:
        import logging

        import math_verify
        from math_verify import grader, parser

        logging.disable(logging.CRITICAL)
        _mend_grammar()
        self.trouble: str | None = None
        self._configs = {
            "latex": parser.LatexExtractionConfig(),
            "expr": parser.ExprExtractionConfig(),
        }
        normalization = dataclasses.replace(
            parser.LatexExtractionConfig().normalization_config, units=False
        )
        self._formula = parser.LatexExtractionConfig(normalization_config=normalization)
        self._parse, self._verify = math_verify.parse, math_verify.verify
        for name in ("parse_latex_cached", "parse_expr_cached"):
            setattr(parser, name, self._watched(getattr(parser, name), MemoryError, RecursionError))
        grader.sympy_numeric_eq = _relative(grader.sympy_numeric_eq)
        grader.sympy_expr_eq = self._watched(grader.sympy_expr_eq, Exception)
        for gold, text in _WARM_UP:
            self.compare(gold, text, WHOLE, _WARM_UP_OPTIONS)

    def _watched(self, function: Any, *errors: type[Exception]) -> Any:
        """The function, with those of its errors written down that its callers swallow."""

        def watched(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except errors as error:
                self.trouble = f"the engine failed: {type(error).__name__}"
                raise

        return watched

    def compare(self, gold: str, text: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        """Whether the text's answer equals the reference.

        Args:
            gold: the reference answer, LaTeX with or without delimiters.
            text: an extracted answer, or the end of a whole text for the engine to search.
            kind: FORMULA for an extracted answer, WHOLE for a text to search.
            options: what to look for (`targets`), and settings of `math_verify.verify`.
        """
        settings = dict(options)
        targets = [self._configs[name] for name in settings.pop("targets")]
        equal = Equality(
            lambda one, other: self._engine_equal(one, other, settings),
            settings["float_rounding"],
            settings["allow_set_relation_comp"],
        )
        wanted = [gold]
        if is_prose(gold) and (found := self._shown(gold, targets)):
            wanted.append(found)
        shown = None
        if kind == WHOLE:
            shown = self._shown(typed(text), targets)
            if shown is None:
                return {"verdict": UNANSWERED, "extracted": None}
            answers = [shown, *self._numbers(shown)]
        else:
            answers = [text]
            if is_prose(text) and (found := self._shown(typed(text), targets)):
                answers.append(found)
        right = any(equal(one, other) for one in wanted for other in answers)
        return {"verdict": CORRECT if right else WRONG, "extracted": shown}

    def _shown(self, text: str, targets: list[Any]) -> str | None:
        """The formula or number that the engine finds in a text."""
        found = self._found(text, targets)
        return str(found[-1]) if found else None

    def _numbers(self, shown: str) -> list[str]:
        """The number in what looked like a formula and is words: "how many $? just about 1$"."""
        found = self._shown(shown, [self._configs["expr"]]) if _WORDS.search(shown) else None
        return [found] if found else []

    def _engine_equal(self, gold: str, answer: str, settings: dict[str, Any]) -> bool:
        wanted, given = self._read(gold), self._read(answer)
        return self._verified(wanted, given, settings)

    def _verified(self, gold: list[Any], answer: list[Any], settings: dict[str, Any]) -> bool:
        known = [[part for part in side if not isinstance(part, str)] for side in (gold, answer)]
        if not all(known):
            return False
        return bool(self._verify(*known, timeout_seconds=None, **settings))

    def _found(self, text: str, targets: list[Any]) -> list[Any]:
        return list(self._parse(text, targets, parsing_timeout=None, raise_on_error=True))

    def _read(self, formula: str) -> list[Any]:
        """A formula that stands alone: whole or not at all."""
        return self._found(f"${formula}$", [self._formula])


def _relative(numeric_eq: Any) -> Any:
    """math-verify's comparison of numbers, which takes all that is small for 0, made relative."""

    def compared(one: Any, other: Any, rounding: int, precision: int) -> bool:
        if not numeric_eq(one, other, rounding, precision):
            return False
        try:
            largest = max(abs(complex(one.evalf())), abs(complex(other.evalf())))
            apart = abs(complex((one - other).evalf(precision)))
        except (TypeError, ValueError, AttributeError, OverflowError):
            return True  # no numbers: matrices, and formulas with variables
        tiny = largest < 10.0 ** -(rounding // 2)
        return not tiny or apart <= largest * 10.0**-rounding

    return compared


def _mend_grammar() -> None:
    """latex2sympy2_extended 1.11 asks for an atom that its ANTLR 4.9.3 grammar does not have.

    Without it every percentage fails to parse. OmegaConf needs ANTLR 4.9, so it is mended here.
    """
    from latex2sympy2_extended.antlr_parser import PSParser

    if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
        PSParser.AtomContext.FUNC_GAMMA = lambda self: None


_WARM_UP_OPTIONS = {
    "targets": ["latex", "expr"],
    "float_rounding": 6,
    "strict": True,
    "allow_set_relation_comp": True,
}
#: touches what the engine imports late, before the door is closed
_WARM_UP = (
    (r"$\frac{1}{2}$", "$0.5$"),
    (r"$\{1,2\}$", r"$\{2, 1\}$"),
    (r"$(1,2)$", r"$(1, 3)$"),
    (r"$x \in (-\infty, 2] \cup [3, 4)$", r"$x \le 2$"),
    (r"$1 < x < 2$", "$(1,2)$"),
    (r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$", r"$\begin{bmatrix}1&2\\3&5\end{bmatrix}$"),
    (r"$x^2+2x+1=0$", r"$(x+1)^2=0$"),
    (r"$\sin(x)+\log_2 8+\sqrt[3]{2}+\binom{5}{2}+5!$", "$1+i$"),
    ("3/4", "6/8 = 0.75"),
    (r"$\int_0^1 x dx + \sum_{k=1}^{3} k$", "$6.5$"),
)
