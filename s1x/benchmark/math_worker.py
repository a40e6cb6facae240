"""The process that compares mathematical answers: math-verify, locked up.

Before the first job it imports all it needs, warms up, and then gives up what it must not do:
memory beyond a limit, writing files, new processes, the network, running text as code. Those
limits are the operating system's where it has them (setrlimit) and an audit hook's elsewhere.
One job a line in (the arguments of `_Comparison.compare`), one `Reply` out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypedDict, TypeVar

import math_verify
from latex2sympy2_extended.antlr_parser import PSParser
from math_verify import grader, parser
from sympy import Expr

from s1x.benchmark.equality import Equality
from s1x.benchmark.extraction import is_prose
from s1x.benchmark.latex import typed
from s1x.rows import CORRECT, UNANSWERED, UNGRADED, WRONG

#: what may be compiled from text: numbers, operators, and the names sympy's reader puts there
_HARMLESS = re.compile(r"from sympy import \*|(?:[\s\d.+\-*/(),'e]|Integer|Float|Rational)*")
#: files of sympy that make code of their own, from numbers of variables and never from text
_CODE_GENERATORS = (os.path.join("sympy", "polys", "monomials.py"),)


_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,} +[A-Za-z]{3,} ")
T = TypeVar("T")


class Reply(TypedDict):
    """What is said of one answer."""

    verdict: str
    extracted: str | None
    reason: str | None


class OutOfTime(BaseException):
    """The time limit has passed; no `except Exception` of a library can swallow it."""


class Sandbox:
    """What the process may no longer do, and what it tried."""

    def __init__(self) -> None:
        self.readable = tuple({sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)})
        self.violation: str | None = None

    def lock(self, memory_limit_bytes: int) -> None:
        """From here on: no writing, no processes, no network, limited memory."""
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

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            if isinstance(arguments[0], str) and arguments[0].startswith("<"):
                raise FileNotFoundError(arguments[0])  # a syntax error looks for its source's line
            allowed = self._may_open(arguments[0], arguments[2])
        elif event == "compile":
            allowed = self._may_compile(*arguments)
        else:
            allowed = not event.startswith(_FORBIDDEN)
        if not allowed:
            self.violation = f"{event} {arguments[:1]!r:.80}"
            raise PermissionError(f"{event} is not allowed here")

    def _may_open(self, path: object, flags: object) -> bool:
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


#: beginnings of names of audit events
_FORBIDDEN_EVENTS = """
os.system os.exec os.spawn os.posix_spawn os.fork os.remove os.rename os.mkdir os.rmdir os.link
os.symlink os.truncate os.chmod os.chown os.putenv os.unsetenv os.kill os.chdir os.utime os.setxattr
subprocess. socket. shutil. ctypes. pty. urllib. http. ftplib. webbrowser. tempfile. sqlite3. mmap.
code.__new__ pickle.
"""
_FORBIDDEN = tuple(_FORBIDDEN_EVENTS.split())


def main() -> None:
    """Answers jobs until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    settings = json.loads(requests.readline())
    sys.setrecursionlimit(3000)
    comparison = _Comparison()
    sandbox = Sandbox()
    sandbox.lock(int(settings["memory_limit_bytes"]))
    _send(replies, {"ready": True})
    for line in requests:
        _send(replies, _answer(comparison, sandbox, line, settings["time_limit_seconds"]))


def _send(replies: BinaryIO, reply: object) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _answer(comparison: _Comparison, sandbox: Sandbox, job: bytes, seconds: float) -> Reply:
    sandbox.violation = comparison.trouble = None
    try:
        with _time_limit(seconds):
            reply = comparison.compare(**json.loads(job))
    except OutOfTime:
        return _ungraded(f"comparing took more than {seconds:g} s")
    except MemoryError:
        return _ungraded("comparing took more memory than its limit")
    except RecursionError:
        return _ungraded("nested too deeply to be compared")
    except Exception as error:
        return _ungraded(f"the engine failed: {type(error).__name__}")
    trouble = sandbox.violation and f"tried something forbidden: {sandbox.violation}"
    trouble = trouble or comparison.trouble
    if trouble and reply["verdict"] != CORRECT:
        return {**reply, "verdict": UNGRADED, "reason": trouble}
    return reply


def _ungraded(reason: str) -> Reply:
    return {"verdict": UNGRADED, "extracted": None, "reason": reason}


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
        logging.disable(logging.CRITICAL)
        if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
            # latex2sympy2_extended 1.11 asks for an atom that the grammar of ANTLR 4.9, which
            # OmegaConf needs, does not have: every percentage would fail to parse
            PSParser.AtomContext.FUNC_GAMMA = lambda self: None
        self.trouble: str | None = None
        latex = parser.LatexExtractionConfig()
        self._configs = {"latex": latex, "expr": parser.ExprExtractionConfig()}
        normalization = dataclasses.replace(latex.normalization_config, units=False)
        self._formula = parser.LatexExtractionConfig(normalization_config=normalization)
        for name in ("parse_latex_cached", "parse_expr_cached"):
            setattr(parser, name, self._watched(getattr(parser, name), MemoryError, RecursionError))
        grader.sympy_numeric_eq = _relative(grader.sympy_numeric_eq)
        grader.sympy_expr_eq = self._watched(grader.sympy_expr_eq, Exception)
        for gold, text in (pair.split(" ~ ") for pair in _WARM_UP.strip().splitlines()):
            self.compare(gold, text, True, ["latex", "expr"], 6, True, True)

    def _watched(self, function: Callable[..., T], *errors: type[Exception]) -> Callable[..., T]:
        """The function, with those of its errors written down that its callers swallow."""

        def watched(*arguments: object) -> T:
            try:
                return function(*arguments)
            except errors as error:
                self.trouble = f"the engine failed: {type(error).__name__}"
                raise

        return watched

    def compare(
        self,
        gold: str,
        text: str,
        search: bool,
        targets: list[str],
        float_rounding: int,
        strict: bool,
        allow_set_relation_comp: bool,
    ) -> Reply:
        """Whether the text's answer equals the reference.

        Args:
            gold: the reference answer, LaTeX with or without delimiters.
            text: an extracted answer, or the end of a whole text.
            search: whether the engine is to find the answer in the text.
            targets: what to look for: latex, expr.
            float_rounding, strict, allow_set_relation_comp: see `math_verify.verify`.
        """

        def engine(one: str, other: str) -> bool:
            read = (self._found(f"${formula}$", [self._formula]) for formula in (one, other))
            known = [[part for part in side if not isinstance(part, str)] for side in read]
            options = (float_rounding, 15, strict, allow_set_relation_comp)
            return all(known) and bool(math_verify.verify(*known, *options, timeout_seconds=None))

        equal = Equality(engine, float_rounding, allow_set_relation_comp)
        configs = [self._configs[name] for name in targets]
        wanted, answers, shown = [gold], [text], None
        if is_prose(gold):
            wanted += self._last(gold, configs)
        if search:
            answers = self._last(typed(text), configs)
            if not answers:
                return {"verdict": UNANSWERED, "extracted": None, "reason": None}
            shown = answers[0]
            if _WORDS.search(shown):  # "how many $? just about 1$"
                answers += self._last(shown, [self._configs["expr"]])
        elif is_prose(text):
            answers += self._last(typed(text), configs)
        right = any(equal(one, other) for one in wanted for other in answers)
        return {"verdict": CORRECT if right else WRONG, "extracted": shown, "reason": None}

    def _last(self, text: str, configs: list[object]) -> list[str]:
        """The formula or number that the engine finds in a text, if any."""
        return [str(found) for found in self._found(text, configs)[-1:]]

    def _found(self, text: str, configs: list[object]) -> list[object]:
        return list(math_verify.parse(text, configs, parsing_timeout=None, raise_on_error=True))


def _relative(numeric_eq: Callable[..., bool]) -> Callable[..., bool]:
    """math-verify's comparison of numbers, which takes all that is small for 0, made relative."""

    def compared(one: Expr, other: Expr, rounding: int, precision: int) -> bool:
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


#: touches what the engine imports late, before the door is closed
_WARM_UP = r"""
$\frac{1}{2}$ ~ $0.5$
$\{1,2\}$ ~ $\{2, 1\}$
$(1,2)$ ~ $(1, 3)$
$x \in (-\infty, 2] \cup [3, 4)$ ~ $x \le 2$
$1 < x < 2$ ~ $(1,2)$
$\begin{pmatrix}1&2\\3&4\end{pmatrix}$ ~ $\begin{bmatrix}1&2\\3&5\end{bmatrix}$
$x^2+2x+1=0$ ~ $(x+1)^2=0$
$\sin(x)+\log_2 8+\sqrt[3]{2}+\binom{5}{2}+5!$ ~ $1+i$
3/4 ~ 6/8 = 0.75
$\int_0^1 x dx + \sum_{k=1}^{3} k$ ~ $6.5$
"""
