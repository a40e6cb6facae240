"""The process that compares mathematical answers: math-verify, locked up.

Before the first job it imports all it needs, warms up, and then gives up what it must not do:
memory beyond a limit, writing files, new processes, the network, running text as code. Those
limits are the operating system's where it has them (setrlimit) and an audit hook's elsewhere.
One job a line: {"gold", "text", "kind", "options"} in, {"verdict", "extracted", "reason"} out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from s1x.rows import CORRECT, UNANSWERED, UNGRADED, WRONG

#: words of two letters and more: the text is a sentence, not a formula
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_FORMULA_WORDS = {"pi", "sin", "cos", "tan", "log", "ln", "sqrt", "frac", "exp", "cdot", "infty"}
_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed")
#: what may be compiled from text: numbers, operators, and the names sympy's reader puts there
_HARMLESS = re.compile(r"from sympy import \*|(?:[\s\d.+\-*/(),'e]|Integer|Float|Rational)*")
#: files of sympy that make code of their own, from numbers of variables and never from text
_CODE_GENERATORS = (os.path.join("sympy", "polys", "monomials.py"),)


BOXED, MARKED, WHOLE = "boxed", "marked", "whole"


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
        self._targets = list(self._configs.values())
        self._parse, self._verify = math_verify.parse, math_verify.verify
        for name in ("parse_latex_cached", "parse_expr_cached"):
            setattr(parser, name, self._watched(getattr(parser, name), MemoryError, RecursionError))
        grader.sympy_expr_eq = self._watched(grader.sympy_expr_eq, Exception)
        for gold, text in _WARM_UP:
            self.compare(gold, text, WHOLE, {"targets": ["latex", "expr"]})

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
            kind: BOXED or MARKED for an extracted answer, WHOLE for a text.
            options: what to look for (`targets`), and settings of `math_verify.verify`.
        """
        settings = dict(options)
        self._targets = [self._configs[name] for name in settings.pop("targets")]
        answer = self._found(text) if kind == WHOLE else self._read(text, boxed=kind == BOXED)
        if not answer:
            return {"verdict": UNANSWERED if kind == WHOLE else WRONG, "extracted": None}
        wanted = self._read(gold)
        equal = self._verify(wanted, answer, timeout_seconds=None, **settings)
        shown = str(answer[-1]) if isinstance(answer[-1], str) else None
        return {"verdict": CORRECT if equal else WRONG, "extracted": shown}

    def _found(self, text: str) -> list[Any]:
        return list(self._parse(text, self._targets, parsing_timeout=None, raise_on_error=True))

    def _read(self, answer: str, boxed: bool = False) -> list[Any]:
        """An answer that stands alone: a formula is read as one, a sentence is searched."""
        box = f"$\\boxed{{{answer}}}$"
        if boxed:
            return self._found(box) or self._found(answer)
        answer = answer.replace("\\$", "")
        if _DELIMITED.search(answer):
            return self._found(answer)
        words = set(_SENTENCE.findall(answer)) - _FORMULA_WORDS
        if words and "\\" not in answer and (found := self._found(answer)):
            return found
        return self._found(f"${answer}$") or self._found(box)


def _mend_grammar() -> None:
    """latex2sympy2_extended 1.11 asks for an atom that its ANTLR 4.9.3 grammar does not have.

    Without it every percentage fails to parse. OmegaConf needs ANTLR 4.9, so it is mended here.
    """
    from latex2sympy2_extended.antlr_parser import PSParser

    if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
        PSParser.AtomContext.FUNC_GAMMA = lambda self: None


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
