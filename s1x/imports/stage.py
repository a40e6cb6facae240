"""From others' answers to evaluation artifacts: rows, and what must be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from s1x.artifact import file_hash, write_json
from s1x.benchmark.benchmark import Benchmark, checked
from s1x.benchmark.grader import Grade, Grader, make_grader
from s1x.benchmark.problem import Problem, content_hash
from s1x.compose import option_named, option_names, options_named
from s1x.errors import SettingError, UserError
from s1x.evaluate.stage import GRADERS_LIBRARIES
from s1x.evaluate.table import Row, write_rows
from s1x.imports.importer import Answer, Budget, FileImport
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.option import result_settings
from s1x.report.inputs import clean
from s1x.rows import CORRECT, UNGRADED, WRONG
from s1x.stages import ArtifactStage, Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_TEXT = Grade(None, None, UNGRADED, "its text was not kept")
#: budget policy, model role and prompt format
Kind = tuple[str, str, str]


@dataclass(frozen=True)
class ImportStage(ArtifactStage):
    """One model's answers to one benchmark, as an evaluation's folder has them."""

    settings: FileImport
    benchmark: str
    model: str
    kind: Kind

    name = "import"

    @classmethod
    def check(cls, run: Run) -> None:
        """The files can be read and meant, before anything else is done."""
        list(cls.of(run))

    @classmethod
    def of(cls, run: Run) -> Iterator[ArtifactStage]:
        """Every model on every benchmark that the files name, in their order."""
        settings = run.config.imported
        if isinstance(settings, FileImport):
            names = {answer.benchmark for answer in settings.answers}
            for theirs in settings.benchmarks:
                if theirs not in names:
                    must = f"keyed by names in the files ({', '.join(sorted(names))})"
                    raise SettingError("import.benchmarks", must, theirs)
            for benchmark, model, kind in dict.fromkeys(map(_group, settings.answers)):
                yield cls(run, settings, benchmark, model, kind)

    @property
    def label(self) -> str:
        """Benchmark and model."""
        return f"{self.benchmark}, {self.model} (imported)"

    @property
    def answers(self) -> list[Answer]:
        """The answers that are this artifact's."""
        mine = (self.benchmark, self.model, self.kind)
        return [answer for answer in self.settings.answers if _group(answer) == mine]

    @property
    def ours(self) -> tuple[str, Benchmark] | None:
        """The benchmark of ours whose questions these are, where the settings name one."""
        name = self.settings.benchmarks.get(self.benchmark)
        if name is None:
            return None
        return name, options_named("benchmark", [name], "import.benchmarks", Benchmark)[name]

    def grader(self) -> Grader | None:
        """What grades again; None: their verdicts stand."""
        if self.settings.regrade is False:
            return None
        if self.settings.regrade is True and self.ours is not None:
            return self.ours[1].make_grader()
        name = "exact" if self.settings.regrade is True else self.settings.regrade
        return make_grader(name, self.settings.grader_settings)

    def inputs(self) -> dict[str, object]:
        """The files by content, how they are read, and what grades them."""
        grader = self.grader()
        libraries = [*self.settings.libraries()]
        if grader is not None:
            libraries += GRADERS_LIBRARIES.get(type(grader).__module__.rpartition(".")[2], ())
        return {
            "settings": result_settings(self.settings),
            "files": [[f.name, file_hash(f)] for f in self.settings.files],
            "budgets": [[b.setting, b.least, b.most] for b in _budgets(self.answers)],
            "artifact": [self.benchmark, self.model, *self.kind],
            "questions": content_hash(self.ours[1].load()) if self.ours else None,
            "grader": None if grader is None else result_settings(grader),
            "libraries": [[name, version(name)] for name in libraries],
        }

    def build(self, folder: Path) -> None:
        """Writes `rows.parquet` and `evaluation.json`."""
        answers, grader = _whole(self.settings, self.answers), self.grader()
        problems = _problems(answers, self.ours[1] if self.ours else None)
        if grader is None:
            graded: list[Grade | None] = [None] * len(answers)
        else:
            read = checked(list(problems.values()), grader)
            problems = dict(zip(problems, read, strict=True))
            try:
                graded = _graded(answers, problems, grader)
            finally:
                grader.close()
        budgets = _budgets(answers)
        shared = self._shared()
        places = {_point(budget): index for index, budget in enumerate(budgets)}
        rows = [
            {**_row(answer, problems[answer.problem_id], grade, grader is not None), **shared}
            | {"point": places[_point(answer.budget)]}
            for answer, grade in zip(answers, graded, strict=True)
        ]
        write_rows(rows, folder)
        write_json(folder / "evaluation.json", self._about(rows, budgets, answers, grader))

    def _shared(self) -> dict[str, object]:
        policy, role, prompt_format = self.kind
        return {
            "benchmark": self.ours[0] if self.ours else self.benchmark,
            **{"model": self.model, "policy": policy},
            **{"model_role": role, "prompt_format": prompt_format},
        }

    def _about(
        self,
        rows: Sequence[Row],
        budgets: Sequence[Budget],
        answers: Sequence[Answer],
        grader: Grader | None,
    ) -> dict[str, object]:
        both = zip(rows, answers, strict=True)
        by = "the verdicts are theirs"
        if grader is not None:
            judged = [(row["verdict"] == CORRECT, answer.correct) for row, answer in both]
            known = [ours == theirs for ours, theirs in judged if theirs is not None]
            by = f"graded again ({type(grader).__name__})"
            by += f", as there in {sum(known)} of {len(known)} answers" if known else ""
        numbers = [row["sample"] for row in rows]
        return {
            **self._shared(),
            "points": [
                {
                    **{"point": index, "label": budget.setting, "settings": dict(budget.settings)},
                    **{"limit_min_tokens": budget.least, "limit_max_tokens": budget.most},
                }
                for index, budget in enumerate(budgets)
            ],
            "num_problems": len({row["problem_id"] for row in rows}),
            "samples_per_problem": 1 + max(numbers) - min(numbers),
            "engine": {"engine": f"imported from {self.settings.wrote}"},
            "benchmark_info": self.ours[1].info() if self.ours else {},
            "model_notes": [f"{self.model}: imported from {self.settings.wrote}; {by}."],
            "warnings": [],
        }


def _group(answer: Answer) -> tuple[str, str, Kind]:
    budget = answer.budget
    kind = (budget.policy, budget.model_role, budget.prompt_format)
    return answer.benchmark, answer.model, kind


def _point(budget: Budget) -> tuple[str, int | None, int | None]:
    return budget.setting, budget.least, budget.most


def _budgets(answers: Sequence[Answer]) -> list[Budget]:
    """The points, smallest budget first."""
    unique = {_point(answer.budget): answer.budget for answer in answers}
    return sorted(unique.values(), key=lambda budget: budget.order)


def _whole(settings: FileImport, answers: Sequence[Answer]) -> list[Answer]:
    """The answers with thinking apart and tokens counted where that can be.

    Raises:
        UserError: two answers to one question under one budget, or a tokenizer that is none.
    """
    seen: dict[object, Answer] = {}
    for answer in answers:
        key = answer.problem_id, answer.sample, _point(answer.budget)
        first = seen.setdefault(key, answer)
        if first is not answer:
            raise UserError(
                f"{answer.place} answers question {answer.problem_id} at {answer.budget.setting}, "
                f"as {first.place} does; tell files apart by import.budgets={{part of the path: "
                "tokens}, give fewer files, or number samples"
            )
    apart = [_split(settings, answer) for answer in answers]
    if settings.tokenizer is None:
        return apart
    tokenizer = load_tokenizer(_model(settings.tokenizer))
    return [_counted(tokenizer, answer) for answer in apart]


def _split(settings: FileImport, answer: Answer) -> Answer:
    """Thinking and answer apart, where the thinking's end stands in the text."""
    end, text = settings.thinking_end, answer.text
    if answer.thinking is not None or text is None or not end or end not in text:
        return answer
    thinking, _, rest = text.partition(end)
    thinking = thinking.strip().removeprefix(end.replace("/", "", 1))
    return replace(answer, thinking=thinking.strip("\n"), text=rest.strip())


def _model(name: str) -> Model:
    """The model of that name, folder or hub id, for its tokenizer."""
    if name in option_names("model"):
        return option_named("model", name, "import.tokenizer", Model)
    return Model(path=name)


def _counted(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> Answer:
    """The answer with the tokens of its texts, where the files did not say them."""
    texts = {"thinking_tokens": answer.thinking, "answer_tokens": answer.text}
    counts = {
        name: len(tokenizer.encode(text, add_special_tokens=False))
        for name, text in texts.items()
        if text is not None and name not in answer.columns
    }
    return replace(answer, columns={**answer.columns, **counts})


def _problems(answers: Sequence[Answer], ours: Benchmark | None) -> dict[str, Problem]:
    """The problem of each of their ids; ours with the same question, where a benchmark is named.

    Raises:
        UserError: one id with two questions, or a question that the benchmark does not have.
    """
    found: dict[str, Problem] = {}
    known = {} if ours is None else {_plain(_asked(p, ours)): p for p in ours.load()}
    for answer in answers:
        text = answer.question or ""
        problem = Problem(
            answer.problem_id,
            text,
            answer.reference or "",
            str(answer.columns.get("domain") or ""),
            metadata={"place": answer.place},
        )
        if ours is not None:
            if _plain(text) not in known:
                raise UserError(
                    f"{answer.place}: its question ({text[:80]!r}) is not in the benchmark that "
                    "import.benchmarks names; leave that out, or name another"
                )
            problem = known[_plain(text)]
        first = found.setdefault(answer.problem_id, problem)
        if first.question != problem.question or first.answer != problem.answer:
            place = first.metadata.get("place", "another line")
            raise UserError(
                f"{answer.place}: id {answer.problem_id} has another question or reference answer "
                f"at {place}; name the column of ids by import.columns.problem_id"
            )
    return found


def _asked(problem: Problem, benchmark: Benchmark) -> str:
    return problem.question.removesuffix(benchmark.instruction)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _graded(
    answers: Sequence[Answer], problems: Mapping[str, Problem], grader: Grader
) -> list[Grade | None]:
    """Our verdict on each answer; None where there is no text to judge."""
    pairs = [(problems[a.problem_id], a.text) for a in answers if a.text is not None]
    grades = iter(grader.grade_all(pairs))
    return [None if answer.text is None else next(grades) for answer in answers]


def _row(answer: Answer, problem: Problem, grade: Grade | None, ours: bool) -> Row:
    """A row as `s1x.rows` has them, but for the columns that all share."""
    columns = dict(answer.columns)
    told = columns.pop("verdict", None)
    if ours:
        grade = grade or NO_TEXT
        columns |= {"verdict": grade.verdict, "extracted_answer": grade.extracted}
        columns |= {"extraction_rule": grade.rule}
        columns.setdefault("ungraded_reason", grade.reason)
    elif told is None:
        verdicts = {True: CORRECT, False: WRONG, None: UNGRADED}
        columns["verdict"] = verdicts[answer.correct]
        if answer.correct is None:
            columns.setdefault("ungraded_reason", "the file has no verdict on it")
    else:
        columns["verdict"] = told
    row = {
        **{"problem_id": problem.problem_id, "sample": answer.sample},
        **{"setting": answer.budget.setting, "question": problem.question or None},
        **{"reference_answer": problem.answer or None, "domain": problem.domain or None},
        **columns,
        **{"thinking_text": answer.thinking, "answer_text": answer.text},
    }
    return {name: clean(value) for name, value in row.items()}
