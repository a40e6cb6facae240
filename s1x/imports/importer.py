"""What every import is: files of others, read as answers.

A reader yields an `Answer` for each output of a model; `s1x.imports.stage` makes rows of them. What
a file does not say stays unknown (null), never 0.
"""

from __future__ import annotations

import glob
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from s1x.errors import SettingError, UserError
from s1x.option import Option, setting
from s1x.rows import END_REASONS, NATURAL, SPILLS

#: columns of `s1x.rows` that a file may say beside the texts and the verdict
COLUMNS = (
    *("domain", "level", "prompt_tokens", "thinking_tokens", "answer_tokens", "forced_tokens"),
    *("answer_cut", "end_reason", "spill", "looped", "num_waits", "num_tries"),
    "extracted_answer",
    *("extraction_rule", "ungraded_reason", "first_token_seconds", "thinking_seconds"),
    "wall_seconds",
)
IMPORTED, UNKNOWN = "imported", "unknown"
#: how tables write right and wrong
TRUE, FALSE = ("true", "1", "1.0", "yes", "c", "correct"), ("false", "0", "0.0", "no", "i", "wrong")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Budget:
    """The point of a curve that an answer belongs to.

    Attributes:
        setting: its label; "natural" where nothing limits thinking.
        least, most: limits of thinking tokens, None: no such limit.
        policy, model_role, prompt_format: as rows have them.
        settings: of the policy, where known.
    """

    setting: str = NATURAL
    least: int | None = None
    most: int | None = None
    policy: str = IMPORTED
    model_role: str = IMPORTED
    prompt_format: str = UNKNOWN
    settings: Json = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, value: object, policy: str) -> Budget:
        """The most thinking tokens, a label of one's own, or None: no limit."""
        if value is None:
            return cls(policy=policy)
        if isinstance(value, int):
            settings = {"max_thinking_tokens": value}
            return cls(f"max {value}", most=value, policy=policy, settings=settings)
        return cls(str(value), policy=policy)

    @property
    def order(self) -> tuple[float, int, str]:
        """The smallest budget first."""
        return (float("inf") if self.most is None else self.most, self.least or 0, self.setting)


@dataclass(frozen=True)
class Answer:
    """One output of a model.

    Attributes:
        place: file and line, for errors.
        text: the answer, or thinking and answer in one; None where none was kept.
        thinking: the thinking, where it was kept apart.
        correct: their verdict; None: not graded.
        columns: what else is known, by `COLUMNS`.
    """

    place: str
    benchmark: str
    model: str
    problem_id: str
    question: str | None
    reference: str | None
    text: str | None
    correct: bool | None
    thinking: str | None = None
    sample: int = 0
    budget: Budget = field(default_factory=Budget)
    columns: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Import(Option):
    """Base of every import; of itself it imports nothing."""

    @property
    def asked_for(self) -> bool:
        """Whether anything is imported."""
        return False


@dataclass(frozen=True)
class FileImport(Import, ABC):
    """Base of the imports of files.

    `columns` and `budgets` say what the files do not: where a column has another name, and which
    file was made under which budget.
    """

    wrote: ClassVar[str] = "the file"
    """What writes such files, for notes."""
    endings: ClassVar[tuple[str, ...]] = ()

    path: Any = setting(
        doc="a file, a folder or a glob, or a list of them", remedy="set import.path=<file>"
    )
    model: str | None = setting(None, "name of the model; null: as the files say")
    budgets: dict[str, Any] = setting(
        factory=dict,
        doc="{part of a file's path: most thinking tokens of its answers, null for no limit, or a "
        "label}; none: as the files say, else natural",
    )
    policy: str = setting(IMPORTED, "name of the budget policy, where the files do not say one")
    benchmarks: dict[str, str] = setting(
        factory=dict,
        doc="{their name of the questions: benchmark of ours with the same ones}: rows take its "
        "name, questions, references and domains, so that they are paired with runs of ours",
    )
    columns: dict[str, str] = setting(
        factory=dict, doc="{our name: theirs}, such as question, reference_answer, domain, level"
    )
    thinking_end: str | None = setting(
        "</think>", "text that ends the thinking inside an answer; null: there is none in it"
    )
    tokenizer: str | None = setting(
        None, "folder or hub id of the model's tokenizer: counts tokens that the files do not say"
    )
    regrade: Any = setting(
        False,
        "false: their verdicts; true: graded again by the grader of the benchmark of ours, else "
        "exactly; or a grader's name: exact, choice, math, llm_judge",
    )
    grader_settings: dict[str, Any] = setting(
        factory=dict, doc="settings of the grader that grades again"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = [self.path] if isinstance(self.path, str) else self.path
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise SettingError("path", "a path or a list of paths", self.path)
        for part, value in self.budgets.items():
            if isinstance(value, bool) or not isinstance(value, (int, str, type(None))):
                must = "a number of thinking tokens, null or a label"
                raise SettingError(f"budgets.{part}", must, value)
            if isinstance(value, int) and value < 0:
                raise SettingError(f"budgets.{part}", "0 or more", value)
        if not isinstance(self.regrade, (bool, str)):
            raise SettingError("regrade", "true, false or the name of a grader", self.regrade)
        if self.grader_settings and self.regrade is False:
            raise SettingError("grader_settings", "{} where import.regrade is false", "some")

    @property
    def asked_for(self) -> bool:
        """Yes."""
        return True

    def libraries(self) -> list[str]:
        """Packages that read the files, whose version can change what is read."""
        return []

    @abstractmethod
    def read(self, file: Path) -> Iterator[Answer]:
        """The answers of a file.

        Raises:
            UserError: what cannot be read or meant, naming file and line.
        """

    @cached_property
    def files(self) -> list[Path]:
        """The files that `path` means, by name.

        Raises:
            SettingError: nothing is there, or nothing of the kind that this import reads.
        """
        paths = [self.path] if isinstance(self.path, str) else self.path
        found: list[Path] = []
        for text in paths:
            place = Path(text).expanduser()
            named = [place] if place.exists() else map(Path, glob.glob(str(place), recursive=True))
            inside = [f for p in named for f in (self.inside(p) if p.is_dir() else [p])]
            if not inside:
                what = f"with {' or '.join(self.endings)} files in it" if place.is_dir() else ""
                raise SettingError("import.path", f"a file, folder or glob {what}".strip(), text)
            found += sorted(inside)
        return list(dict.fromkeys(found))

    def inside(self, folder: Path) -> Sequence[Path]:
        """The files of a folder, and of those in it, that this import reads."""
        return [p for p in folder.rglob("*") if p.is_file() and p.name.endswith(self.endings)]

    @cached_property
    def answers(self) -> list[Answer]:
        """All answers of all files.

        Raises:
            UserError: see `read`; also a part of a path in `budgets` that no file has.
        """
        for part in self.budgets:
            if not any(part in str(file) for file in self.files):
                must = f"keyed by parts of the files' paths ({self.files[0]}, ...)"
                raise SettingError("import.budgets", must, part)
        found = [answer for file in self.files for answer in self.read(file)]
        if not found:
            raise UserError(f"import.path {self.path} has no answers in it")
        return found

    def budget(self, file: Path) -> Budget | None:
        """What `budgets` says of a file: the longest part of its path counts; None: nothing."""
        parts = [part for part in self.budgets if part in str(file)]
        if not parts:
            return None
        return Budget.of(self.budgets[max(parts, key=len)], self.policy)

    def theirs(self, name: str, values: Json, place: str) -> object:
        """What `columns` says that a column of ours is called there; None where it says nothing.

        Raises:
            UserError: it is not there.
        """
        theirs = self.columns.get(name)
        if theirs is None:
            return None
        if theirs not in values:
            has = ", ".join(map(str, values)) or "nothing"
            raise UserError(f"{place}: no {theirs} (it has {has}); mend import.columns.{name}")
        return values[theirs]

    def more(self, values: Json, place: str) -> dict[str, object]:
        """The other columns that `columns` names, and domain and level under their own names."""
        found = {name: values[name] for name in ("domain", "level") if name in values}
        found |= {n: self.theirs(n, values, place) for n in COLUMNS if n in self.columns}
        return known_columns(found, place)


def known_columns(values: Json, place: str) -> dict[str, object]:
    """The values of `COLUMNS`, as rows have them.

    Raises:
        UserError: a value of another type, such as a word for a number of tokens.
    """
    return {n: _typed(n, values[n], place) for n in COLUMNS if values.get(n) is not None}


def _typed(name: str, value: object, place: str) -> object:
    if name.endswith("_tokens") or name.startswith("num_"):
        return whole_number(name, value, place)
    if name.endswith("_seconds"):
        if (number := as_number(value)) is not None and number >= 0:
            return number
        raise UserError(f"{place}: {name} must be a number, 0 or more, got {value!r:.60}")
    if name in ("answer_cut", "looped"):
        if (truth := as_truth(value)) is not None:
            return truth
        raise UserError(f"{place}: {name} must be true or false, got {value!r:.60}")
    if name == "spill":
        if isinstance(value, list) and set(value) <= set(SPILLS):
            return value
        raise UserError(f"{place}: {name} must be a list of {', '.join(SPILLS)}, got {value!r:.60}")
    if name == "end_reason" and value not in END_REASONS:
        must = f"one of {', '.join(END_REASONS)}"
        raise UserError(f"{place}: {name} must be {must}, got {value!r:.60}")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def whole_number(name: str, value: object, place: str) -> int:
    """A count, also one that a table holds as text.

    Raises:
        UserError: it is none.
    """
    if (number := as_number(value)) is not None and number >= 0 and number.is_integer():
        return int(number)
    raise UserError(f"{place}: {name} must be a whole number, 0 or more, got {value!r:.60}")


def as_number(value: object) -> float | None:
    """A number, also one that a table holds as text; None for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


def as_truth(value: object) -> bool | None:
    """True or false, also as the words and numbers that tables hold; None for anything else."""
    text = str(value).strip().lower()
    return True if text in TRUE else False if text in FALSE else None


def written(found: object, place: object) -> Budget:
    """The point that an export of ours wrote (docs/budget.schema.json).

    Raises:
        UserError: something else stands there.
    """
    try:
        told = dict(found)  # type: ignore[call-overload]
        return Budget(
            setting=str(told["setting"]),
            least=told["limit_min_tokens"],
            most=told["limit_max_tokens"],
            policy=str(told["policy"]),
            model_role=str(told["model_role"]),
            prompt_format=str(told["prompt_format"]),
            settings=dict(told["settings"]),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"{place}: its budget is not as docs/budget.schema.json has it ({error})"
        ) from None
