"""`import=lm_eval`: what lm-evaluation-harness writes with --log_samples.

    python run.py stages=[report] import=lm_eval import.path=results/

A run of it leaves `samples_<task>_<time>.jsonl` for each task beside one `results_<time>.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from s1x.artifact import read_json
from s1x.errors import UserError
from s1x.imports.importer import Answer, Budget, FileImport, Json, known_columns, written
from s1x.jsonl import UnreadableError
from s1x.jsonl import read as read_lines
from s1x.option import option, setting
from s1x.rows import CORRECT, UNANSWERED, UNGRADED

_FILE = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
#: keys of `doc` under which tasks keep the question
QUESTIONS = ("question", "problem", "query", "prompt", "input", "goal", "text")
#: what the harness puts where its filter found nothing
NOTHING_FOUND = "[invalid]"


@option("import", "lm_eval")
@dataclass(frozen=True)
class LmEval(FileImport):
    """Samples of lm-evaluation-harness; `columns` names keys of their `doc`.

    An answer scored by a metric that is neither 0 nor 1 has no verdict to take over.
    """

    wrote: ClassVar[str] = "lm-evaluation-harness"
    endings: ClassVar[tuple[str, ...]] = (".jsonl",)

    metric: str | None = setting(None, "metric whose 0 or 1 is the verdict; null: the only one")
    filter: str | None = setting(None, "filter of the answers; null: the only one")

    def inside(self, folder: Path) -> Sequence[Path]:
        """The samples of all runs below a folder."""
        return [path for path in folder.rglob("samples_*.jsonl") if path.is_file()]

    def read(self, file: Path) -> Iterator[Answer]:
        """See `FileImport.read`."""
        named = _FILE.fullmatch(file.name)
        if named is None:
            raise UserError(
                f"{file} is not named as lm-evaluation-harness names samples "
                "(samples_<task>_<time>.jsonl); import=rows reads other tables"
            )
        results = _results(file.with_name(f"results_{named['time']}.json"))
        model, budget = self._made_by(file, results)
        lines = list(_samples(file))
        chosen = self._filter({str(line.get("filter", "none")) for _, line in lines}, file)
        lines = [(place, one) for place, one in lines if str(one.get("filter", "none")) == chosen]
        try:
            metric = self._metric(lines)
        except UserError:
            if not self.regrade:
                raise
            metric = None  # no verdict of theirs to compare ours with
        for place, line in lines:
            correct = None if metric is None else _score(line[metric])
            yield from self._answers(place, line, named["task"], model, budget, correct)

    def _made_by(self, file: Path, results: Json | None) -> tuple[str, Budget]:
        """The model and the budget, from the settings, the results or the model's name."""
        model = self.model or str((results or {}).get("model_name") or "")
        if not model:
            said = "no results_<time>.json beside it names the model"
            raise UserError(f"{file}: {said}; set import.model")
        told = (results or {}).get("budget")
        if told is not None:
            return model, self.budget(file) or written(told, file)
        return model, self.budget(file) or Budget(policy=self.policy)

    def _filter(self, found: set[str], file: Path) -> str:
        if self.filter is None and len(found) > 1:
            names = ", ".join(sorted(found))
            raise UserError(f"{file} has the answers of the filters {names}; set import.filter")
        if self.filter is not None and self.filter not in found:
            names = ", ".join(sorted(found)) or "none"
            raise UserError(f"import.filter {self.filter} is not in {file}; it has {names}")
        return self.filter or next(iter(found), "none")

    def _answers(
        self, place: str, line: Json, task: str, model: str, budget: Budget, correct: bool | None
    ) -> Iterator[Answer]:
        doc = line["doc"] if isinstance(line["doc"], dict) else {}
        texts, extracted, choices = _outputs(place, line)
        asked = _arguments(line)[0][0] if _arguments(line) else None
        question = self.theirs("question", doc, place)
        if question is None:
            question = next((doc[key] for key in QUESTIONS if doc.get(key) is not None), asked)
        reference = self.theirs("reference_answer", doc, place)
        if reference is None:
            reference = line["target"]
            if choices and str(reference).isdigit() and int(reference) < len(choices):
                reference = choices[int(reference)]
        answer = Answer(
            place=place,
            benchmark=task,
            model=model,
            problem_id=str(self.theirs("problem_id", doc, place) or line["doc_id"]),
            question=None if question is None else str(question),
            reference=str(reference),
            text=texts[0],
            correct=correct,
            budget=budget,
            columns={"extracted_answer": extracted, **self.more(doc, place)},
        )
        if extracted is None and texts[0] is not None and correct is False:
            answer = replace(answer, columns={**answer.columns, "verdict": UNANSWERED})
        if "budget" in line:
            yield from _own(answer, texts, line)
        elif self.regrade and len(texts) > 1:  # theirs is a verdict on all of them
            alone = replace(answer, correct=None)
            yield from (replace(alone, text=t, sample=i) for i, t in enumerate(texts))
        else:
            yield answer

    def _metric(self, lines: Sequence[tuple[str, Json]]) -> str | None:
        """The metric whose scores are the verdicts."""
        if not lines or all("budget" in line for _, line in lines):
            return None  # an export of ours, with verdicts of its own
        place, first = lines[0]
        names = [str(name) for name in first.get("metrics") or [] if name in first]
        if self.metric is not None:
            names = [name for name in names if name == self.metric]
        worth = {n: [_score(line.get(n)) is not None for _, line in lines] for n in names}
        fit = [name for name, fits in worth.items() if all(fits)]
        if len(fit) == 1:
            return fit[0]
        if len(fit) > 1:
            both = " and ".join(fit)
            raise UserError(f"{place}: {both} could each be the verdict; set import.metric to one")
        if not names:
            has = ", ".join(map(str, first.get("metrics") or [])) or "none"
            raise UserError(f"{place} has the metrics {has}; set import.metric to one of them")
        at, line = lines[worth[names[0]].index(False)]
        raise UserError(
            f"{at}: {names[0]} is {line.get(names[0])!r:.40}, neither right (1) nor wrong (0); "
            "set import.metric to a metric that is, or import.regrade=true"
        )


def _results(file: Path) -> Json | None:
    return read_json(file) if file.is_file() else None


def _samples(file: Path) -> Iterator[tuple[str, Json]]:
    """Place and object of each line.

    Raises:
        UserError: a line that is not what the harness writes.
    """
    for number, line in read_lines(file):
        place = f"{file} line {number}"
        if isinstance(line, UnreadableError):
            raise UserError(f"{place} is {line}; the file is cut off or no log of samples")
        needed = ("doc_id", "doc", "target", "resps", "filtered_resps")
        missing = [name for name in needed if name not in line]
        if missing:
            raise UserError(f"{place} is no sample of lm-evaluation-harness: no {missing[0]}")
        yield place, line


def _arguments(line: Json) -> list[list[object]]:
    """The arguments of each request, in order."""
    given = line.get("arguments")
    asked = list(given.values()) if isinstance(given, dict) else []
    return [list(one.values()) for one in asked if isinstance(one, dict) and one]


def _outputs(place: str, line: Json) -> tuple[list[str | None], str | None, list[str]]:
    """The texts written, the answer that was scored, and the choices where one was chosen."""
    responses, filtered = line["resps"], line["filtered_resps"]
    if not isinstance(responses, list) or not responses or not isinstance(responses[0], list):
        raise UserError(f"{place}: resps is {responses!r:.60}, not a list of lists")
    first = filtered[0] if isinstance(filtered, list) and filtered else None
    if all(isinstance(t, (str, type(None))) for t in responses[0]) and len(responses) == 1:
        told = first if isinstance(first, str) and first != NOTHING_FOUND else None
        return list(responses[0]) or [None], told, []
    choices = [str(asked[1]).strip() for asked in _arguments(line) if len(asked) > 1]
    try:  # log-likelihoods: the likeliest choice is the answer
        scores = [float(one[0][0]) for one in responses]
    except (TypeError, ValueError, IndexError):
        raise UserError(f"{place}: resps is neither texts nor log-likelihoods") from None
    chosen = choices[scores.index(max(scores))] if len(choices) == len(scores) > 1 else None
    return [None], chosen, choices


def _score(value: object) -> bool | None:
    """Right or wrong; None for a score that is neither 0 nor 1."""
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def _own(answer: Answer, texts: Sequence[str | None], line: Json) -> Iterator[Answer]:
    """The answers of a file that an export of ours wrote: each with what is known of it."""
    reasoning = line.get("reasoning") or [None] * len(texts)
    shared = {n: v for n, v in answer.columns.items() if n in ("domain", "level")}
    answer = replace(answer, problem_id=str(line["doc"].get("problem_id", answer.problem_id)))
    for text, thinking, told in zip(texts, reasoning, line["budget"], strict=True):
        verdict = told.get("verdict")
        yield replace(
            answer,
            text=text,
            thinking=thinking,
            sample=int(told.get("sample") or 0),
            correct=None if verdict in (None, UNGRADED) else verdict == CORRECT,
            columns={**shared, **known_columns(told, answer.place), "verdict": verdict},
        )
