"""Quality: rows that cannot be trained on, or should not be (paper, section 2.2 "Quality")."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

if TYPE_CHECKING:
    import pyarrow as pa

#: s1's notebook: drawings in code, pictures that are not there, page or part references, numbered
#: bold headings. RE2 syntax; a space or a digit is any that Unicode knows, as in Python.
S1_PATTERNS = {
    "asymptote drawing": r"\[asy\]",
    "picture that is missing": r"!\[Image\]",
    "reference to a numbered part": r"p[1-9][0-9]{0,2}\.",
    "numbered bold heading": (
        r"\*\*(?:[^\s\p{Z}\]]*\p{Nd}[^\s\p{Z}\]]*\*\*|[^\s\p{Z}\]]*\*\*.*\p{Nd})"
    ),
}


@option("selection_step", "missing")
@dataclass(frozen=True)
class Missing(Step):
    """Drops rows that lack a text or a feature (s1: answers that the API never gave)."""

    columns: list[str] = setting(
        factory=lambda: ["reasoning_trace", "attempt"],
        doc="texts that must be there, and not blank",
    )
    features: list[str] = setting(
        factory=lambda: ["is_correct_*", "attempt_is_correct", "domain"],
        doc="must not be null in the pools that have them; * stands for anything",
    )

    def __call__(self, rows: Rows) -> Drops:
        drops = Drops(len(rows))
        for places, batch in rows.scan(self.columns):
            for name in self.columns:
                drops.mark(places, is_blank(batch.column(name)), f"no {name}")
        for pattern in self.features:
            for name in fnmatch.filter(rows.table.names, pattern):
                missing = rows.column(name).is_null()
                if missing.true_count == len(rows) and len(rows):
                    rows.context.note(
                        f"missing: {name} is null in every row, so it is not asked for"
                    )
                else:
                    drops.mark(None, missing, f"no {name}")
        return drops


def is_blank(texts: pa.Array) -> Any:
    """Boolean array: null, or nothing but white space."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy()
    blank = lengths == 0
    short = np.flatnonzero((lengths > 0) & (lengths < 64))
    if short.size:
        stripped = pc.utf8_trim_whitespace(texts.take(pa.array(short)))
        blank[short] = pc.equal(pc.binary_length(stripped), 0).to_numpy(zero_copy_only=False)
    return blank


@option("selection_step", "format")
@dataclass(frozen=True)
class Format(Step):
    """Drops rows with formatting that no model can learn from; s1's patterns by default.

    As in s1's notebook a question with `keep_text` from a source that contains `keep_source` stays,
    whatever else it matches (AIME's drawings).
    """

    columns: list[str] = setting(factory=lambda: ["question"], doc="texts looked through")
    patterns: dict[str, str] = setting(
        factory=lambda: dict(S1_PATTERNS), doc="{reason: regular expression in RE2's syntax}"
    )
    keep_text: str | None = setting("[asy]", "text that excuses a trusted source")
    keep_source: str | None = setting("AIME", "part of that source's name")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patterns != S1_PATTERNS:
            _check_patterns(self.patterns)

    def __call__(self, rows: Rows) -> Drops:
        import pyarrow.compute as pc

        drops = Drops(len(rows))
        excuse = self.keep_text and self.keep_source and rows.has("source")
        columns = [*self.columns, *(["source"] if excuse else [])]
        for places, batch in rows.scan(columns):
            for name in self.columns:
                texts = batch.column(name)
                excused: Any = False
                if excuse:
                    shown = pc.match_substring(texts, self.keep_text)
                    trusted = pc.match_substring(batch.column("source"), self.keep_source)
                    excused = pc.and_(shown, pc.fill_null(trusted, False))
                for reason, pattern in self.patterns.items():
                    found = pc.match_substring_regex(texts, pattern)
                    if excuse:
                        found = pc.and_not(found, excused)
                    drops.mark(places, found, reason)
        return drops


def _check_patterns(patterns: dict[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for reason, pattern in patterns.items():
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            message = str(error).splitlines()[0]
            raise SettingError(f"patterns.{reason}", "RE2 syntax", pattern, message) from None


@option("selection_step", "wrong_attempts")
@dataclass(frozen=True)
class WrongAttempts(Step):
    """Drops rows whose attempt is wrong: by `attempt_is_correct`, else by grading the attempt."""

    grade: bool = setting(True, "grade against the solution where there is no verdict")
    grader: str = setting("math", "grader of s1x.benchmark to grade with")
    keep_unknown: bool = setting(False, "keep rows that have neither verdict nor solution")

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        from s1x.selection.verdicts import attempt_verdicts

        drops = Drops(len(rows))
        verdicts = attempt_verdicts(rows, self.grader if self.grade else None)
        drops.mark(None, verdicts == 0, "wrong attempt")
        if not self.keep_unknown:
            drops.mark(None, np.asarray(verdicts < 0), "attempt cannot be judged")
        return drops


@option("selection_step", "trace_length")
@dataclass(frozen=True)
class TraceLength(Step):
    """Drops reasoning traces that are too short or too long, in tokens of the model to be
    trained."""

    min_tokens: int = setting(0, "shortest trace kept, in tokens", at_least=0)
    max_tokens: int | None = setting(None, "longest trace kept, in tokens", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise SettingError(
                "max_tokens", f"min_tokens ({self.min_tokens}) or more", self.max_tokens
            )

    def __call__(self, rows: Rows) -> Drops:
        tokens = rows.trace_tokens()
        drops = Drops(len(rows))
        drops.mark(None, tokens < self.min_tokens, f"trace under {self.min_tokens} tokens")
        if self.max_tokens is not None:
            drops.mark(None, tokens > self.max_tokens, f"trace over {self.max_tokens} tokens")
        return drops


@option("selection_step", "truncated")
@dataclass(frozen=True)
class Truncated(Step):
    """Drops traces that a token limit cut: by `finish_reason`, and by how the trace ends if
    wished."""

    finish_reasons: list[str] = setting(
        factory=lambda: ["truncated", "length", "max_tokens", "MAX_TOKENS"],
        doc="values of finish_reason that mean a cut",
    )
    by_ending: bool = setting(False, "also drop traces whose last line ends within a sentence")
    endings: str = setting(r".!?:。！？)]}$*`\"'|>-", "last characters of a whole trace")

    def __call__(self, rows: Rows) -> Drops:
        import pyarrow as pa
        import pyarrow.compute as pc

        drops = Drops(len(rows))
        if rows.has("finish_reason"):
            cut = pc.is_in(
                rows.column("finish_reason").cast(pa.string()), pa.array(self.finish_reasons)
            )
            drops.mark(None, cut, "trace cut by a limit")
        elif not self.by_ending:
            rows.context.note(
                "truncated: the pool has no finish_reason, nothing was dropped for it"
            )
        if self.by_ending:
            for places, batch in rows.scan(["reasoning_trace"]):
                ends = pc.utf8_slice_codeunits(pc.utf8_rtrim_whitespace(batch.column(0)), -1)
                whole = pc.is_in(ends, pa.array(list(self.endings)))
                drops.mark(places, pc.invert(whole), "trace ends within a sentence")
        return drops
