"""``puzzles_59k``: a procedural pool of questions with the faults of a real one.

The pool that s1 collected (section 2.1 of the paper) has 59K questions of 16 sources; most are too
easy, some repeat, some traces failed, and some questions overlap the benchmarks. This pool has the
same faults in known numbers, so a selection can be tested against the truth, and it is made in
seconds from a seed.

Nothing here is heavy: no torch, and pyarrow only to write.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from s1x.benchmark.puzzles import SPLITS, held_out_puzzles
from s1x.option import Option, option, setting
from s1x.puzzles.families import FAMILIES, TRAINED_FAMILIES, Puzzle, draw_puzzle
from s1x.puzzles.teacher import write_trace
from s1x.puzzles.tokenizer import count_tokens

POOL_VERSION = 1
"""To be raised whenever the same settings give other rows."""

VERDICTS_FILE = Path(__file__).parent.parent / "model" / "puzzle_base" / "solver_verdicts.parquet"
"""What the two solver models answered directly, by question (see ``load_verdicts``)."""

Row = dict[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the pool: its share of the rows, and what it is made of."""

    share: float
    domain_weights: tuple[float, ...]
    """One a trained family, in the order of ``TRAINED_FAMILIES``."""
    level_weights: tuple[float, float, float]
    """Easy, medium, hard."""
    malformed_share: float
    """Share of questions with remains of a figure, of a page, or of a heading."""


SOURCES: dict[str, Source] = {
    "worksheets": Source(0.52, (0.43, 0.06, 0.25, 0.03, 0.19, 0.04), (1.0, 0.0, 0.0), 0.02),
    "textbooks": Source(0.28, (0.28, 0.12, 0.22, 0.09, 0.21, 0.08), (0.99, 0.01, 0.0), 0.06),
    "forum": Source(0.155, (0.13, 0.08, 0.31, 0.20, 0.18, 0.10), (1.0, 0.0, 0.0), 0.12),
    "olympiads": Source(0.045, (1.1, 1.0, 0.8, 0.8, 0.9, 1.4), (0.0, 0.1, 0.9), 0.08),
}

EXACT_DUPLICATES_SHARE = 0.10
NEAR_DUPLICATES_SHARE = 0.05
MISSING_TRACES_SHARE = 0.08
"""The teacher's service failed: no trace, no attempt."""
CUT_TRACES_SHARE = 0.04
"""The trace ran into a limit: it ends amid a line and has no attempt."""
SHORT_TRACES_SHARE = 0.06
"""The teacher skipped the reasoning and only stated its answer."""
OVERLAPS_PER_BENCHMARK = 20
"""Questions of each benchmark that got into the pool."""
OVERLAP_PROBLEMS = 300
"""Overlaps are drawn from this many first problems of a benchmark."""


@option("pool", "puzzles_59k")
@dataclass(frozen=True)
class Puzzles59k(Option):
    """The procedural pool.

    Verdicts of the solver models are shipped for the questions of seed 0; a question that they have
    not answered has a null verdict.
    """

    rows: int = setting(59_000, "number of rows", at_least=1_000, at_most=1_000_000)
    seed: int = setting(0, "of questions, traces and faults", at_least=0)

    def fingerprint(self) -> dict[str, object]:
        """What the content depends on."""
        verdicts = (
            hashlib.sha256(VERDICTS_FILE.read_bytes()).hexdigest()
            if VERDICTS_FILE.exists()
            else None
        )
        return {
            "pool": "puzzles_59k",
            "version": POOL_VERSION,
            "rows": self.rows,
            "seed": self.seed,
            "verdicts": verdicts,
        }

    def write(self, folder: Path) -> dict[str, object]:
        """Writes ``pool.parquet`` into the folder; returns counts of rows, sources, levels and
        faults."""
        import pyarrow
        import pyarrow.parquet

        rows, faults = [], Counter[str]()
        for row, row_faults in self.generate(load_verdicts()):
            rows.append(row)
            faults.update(row_faults)
        folder.mkdir(parents=True, exist_ok=True)
        table = pyarrow.Table.from_pylist(rows, schema=_schema())
        pyarrow.parquet.write_table(table, folder / "pool.parquet", compression="zstd")
        counts: dict[str, object] = {"rows": len(rows), "faults": dict(faults)}
        for column in ("source", "domain", "level"):
            counts[column] = dict(Counter(row[column] for row in rows))
        return counts

    def generate(
        self, verdicts: Mapping[str, tuple[bool, bool]] | None = None
    ) -> Iterator[tuple[Row, tuple[str, ...]]]:
        """Yields the rows in a shuffled order, each with the names of its faults.

        Args:
            verdicts: question hash to whether the (small, large) solver answers it right.
        """
        rng = random.Random(f"puzzles_59k:{POOL_VERSION}:{self.seed}")
        teacher = random.Random(f"puzzles_59k:{POOL_VERSION}:{self.seed}:teacher")
        overlaps = [
            puzzle
            for split in SPLITS
            for puzzle in rng.sample(
                held_out_puzzles(split, OVERLAP_PROBLEMS), OVERLAPS_PER_BENCHMARK
            )
        ]
        num_duplicates = int(self.rows * (EXACT_DUPLICATES_SHARE + NEAR_DUPLICATES_SHARE))
        num_drawn = self.rows - num_duplicates - len(overlaps)
        made = [_draw_row(rng, teacher) for _ in range(num_drawn)]
        made += [_overlapping_row(puzzle, rng, teacher) for puzzle in overlaps]
        made += [_duplicate(rng.choice(made[:num_drawn]), rng) for _ in range(num_duplicates)]
        rng.shuffle(made)
        for row, row_faults in made:
            small, large = (verdicts or {}).get(question_hash(str(row["question"])), (None, None))
            row = {**row, "is_correct_solver_small": small, "is_correct_solver_large": large}
            yield row, row_faults


def question_hash(question: str) -> str:
    """Twelve hexadecimal digits that stand for a question's exact text."""
    return hashlib.blake2b(question.encode(), digest_size=6).hexdigest()


@cache
def load_verdicts() -> dict[str, tuple[bool, bool]]:
    """Question hash to whether the (small, large) solver model answered right, for the shipped
    pool.

    The solvers are two checkpoints of ``puzzle_base``; each answered every question of the seed-0
    pool once, greedily, asked for the answer directly. ``+experiment=puzzle_base`` makes the file
    anew.
    """
    if not VERDICTS_FILE.exists():
        return {}
    import pyarrow.parquet

    columns = pyarrow.parquet.read_table(VERDICTS_FILE).to_pydict()
    return dict(
        zip(
            columns["question_hash"],
            zip(columns["small"], columns["large"], strict=True),
            strict=True,
        )
    )


def store_verdicts(verdicts: Mapping[str, tuple[bool, bool]], path: Path = VERDICTS_FILE) -> None:
    """Writes the verdicts as ``load_verdicts`` reads them."""
    import pyarrow
    import pyarrow.parquet

    ordered = sorted(verdicts)
    table = pyarrow.table(
        {
            "question_hash": ordered,
            "small": [verdicts[key][0] for key in ordered],
            "large": [verdicts[key][1] for key in ordered],
        }
    )
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)


def _draw_row(rng: random.Random, teacher: random.Random) -> tuple[Row, tuple[str, ...]]:
    """A new question of a source, with its trace and its faults."""
    name = rng.choices(tuple(SOURCES), [source.share for source in SOURCES.values()])[0]
    source = SOURCES[name]
    family = rng.choices(TRAINED_FAMILIES, source.domain_weights)[0]
    level = rng.choices(("easy", "medium", "hard"), source.level_weights)[0]
    puzzle = draw_puzzle(family, level, rng)
    row, faults = _row(puzzle, name, rng, teacher)
    if rng.random() < source.malformed_share:
        row["question"] = _malform(puzzle.question, rng)
        faults = (*faults, "malformed_question")
    return row, faults


def _overlapping_row(
    puzzle: Puzzle, rng: random.Random, teacher: random.Random
) -> tuple[Row, tuple[str, ...]]:
    row, faults = _row(puzzle, "forum", rng, teacher)
    return row, (*faults, "benchmark_overlap")


def _row(
    puzzle: Puzzle, source: str, rng: random.Random, teacher: random.Random
) -> tuple[Row, tuple[str, ...]]:
    """The row of a puzzle: the teacher's trace, or what is left of it."""
    trace = write_trace(puzzle, teacher)
    text: str | None = trace.text
    attempt: str | None = f"Answer: {trace.answer}"
    right: bool | None = trace.answer == puzzle.answer
    faults: tuple[str, ...] = () if right else ("wrong_attempt",)
    fate = rng.random()
    if fate < MISSING_TRACES_SHARE:
        text, attempt, right, faults = None, None, None, ("missing_trace",)
    elif fate < MISSING_TRACES_SHARE + CUT_TRACES_SHARE:
        text, attempt, right, faults = _cut(trace.text, teacher), None, None, ("cut_trace",)
    elif fate < MISSING_TRACES_SHARE + CUT_TRACES_SHARE + SHORT_TRACES_SHARE:
        text, faults = f"so {trace.answer}", (*faults, "short_trace")
    row: Row = {
        "question": puzzle.question,
        "solution": str(puzzle.answer),
        "reasoning_trace": text,
        "attempt": attempt,
        "source": source,
        "domain": FAMILIES[puzzle.family].domain,
        "level": puzzle.level,
        "trace_tokens": None if text is None else count_tokens(text),
        "attempt_is_correct": right,
    }
    return row, faults


def _cut(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    return " ".join(words[: rng.randint(1, len(words) - 1)])


def _malform(question: str, rng: random.Random) -> str:
    """Puts in what s1's format filter looks for: figures, pages, bold numbered headings."""
    number = rng.randint(1, 20)
    return rng.choice(
        (
            f"{question} [asy] draw((0,0)--({number},1)); [/asy]",
            f"{question} ![Image](figure{number}.png)",
            f"p{number}. {question}",
            f"**{number}.** {question}",
        )
    )


def _duplicate(
    made: tuple[Row, tuple[str, ...]], rng: random.Random
) -> tuple[Row, tuple[str, ...]]:
    """A row again: the same, or its question with other case, spaces or ending."""
    row, faults = made
    exact = EXACT_DUPLICATES_SHARE / (EXACT_DUPLICATES_SHARE + NEAR_DUPLICATES_SHARE)
    if rng.random() < exact:
        return dict(row), (*faults, "exact_duplicate")
    question = str(row["question"])
    reworded = rng.choice(
        (question.lower(), question.replace(" ", "  "), f" {question} ", question.rstrip(".?"))
    )
    return {**row, "question": reworded}, (*faults, "near_duplicate")


def _schema() -> object:
    import pyarrow

    text, flag = pyarrow.string(), pyarrow.bool_()
    names = "question solution reasoning_trace attempt source domain level"
    return pyarrow.schema(
        [
            *((name, text) for name in names.split()),
            ("trace_tokens", pyarrow.int32()),
            ("attempt_is_correct", flag),
            ("is_correct_solver_small", flag),
            ("is_correct_solver_large", flag),
        ]
    )
