"""`import=inspect`: logs of inspect_ai (.eval or .json), read by its own reader.

python run.py stages=[report] import=inspect import.path=logs/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from s1x.classes import module_of
from s1x.console import say_once
from s1x.errors import UserError, reason_of
from s1x.imports.importer import Answer, Budget, FileImport, as_truth, known_columns, written
from s1x.option import option, setting
from s1x.rows import CORRECT, UNGRADED

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.scorer import Score

#: how inspect_ai writes a score that is no number
LETTERS = {"C": True, "I": False, "N": False}


@option("import", "inspect")
@dataclass(frozen=True)
class Inspect(FileImport):
    """Logs of inspect_ai; `columns` names keys of the samples' metadata.

    Epochs are samples of a problem. Reasoning that a provider keeps apart is the thinking; its
    tokens are those that the provider counted.
    """

    wrote: ClassVar[str] = "inspect_ai"
    endings: ClassVar[tuple[str, ...]] = (".eval", ".json")

    scorer: str | None = setting(None, "scorer whose score is the verdict; null: the only one")

    def libraries(self) -> list[str]:
        """The reader."""
        return ["inspect-ai"]

    def read(self, file: Path) -> Iterator[Answer]:
        """See `FileImport.read`."""
        log = _log(file)
        if log.status != "success":
            say_once(f"{file}: the log's status is {log.status}; only its samples so far are read")
        model = self.model or log.eval.model
        budget = self._budget(file, log)
        name = (log.eval.task or log.eval.dataset.name or file.stem).rpartition("/")[2]
        for sample in log.samples or []:
            place = f"{file} sample {sample.id} epoch {sample.epoch}"
            yield self._answer(place, sample, name, model, budget)

    def _budget(self, file: Path, log: EvalLog) -> Budget:
        if (named := self.budget(file)) is not None:
            return named
        if (told := (log.eval.metadata or {}).get("budget")) is not None:
            return written(told, file)
        for config in (log.plan.config, log.eval.model_generate_config):
            if config.reasoning_tokens is not None:
                return Budget.of(config.reasoning_tokens, self.policy)
            if config.reasoning_effort is not None:
                return Budget.of(f"effort {config.reasoning_effort}", self.policy)
        return Budget(policy=self.policy)

    def _answer(
        self, place: str, sample: EvalSample, name: str, model: str, budget: Budget
    ) -> Answer:
        metadata, output = sample.metadata, sample.output
        told = metadata.get("budget") or {}
        text, thinking = _texts(sample)
        verdict, columns = None, self.more(metadata, place)
        if sample.error is not None:
            columns["ungraded_reason"] = f"inspect_ai: {sample.error.message}"[:300]
        else:
            verdict, answer = self._judged(place, sample)
            columns |= {} if answer is None else {"extracted_answer": answer}
        if output.choices:
            columns["answer_cut"] = output.stop_reason == "max_tokens"
        if told:
            columns |= known_columns(told, place) | {"verdict": told.get("verdict")}
            verdict = {CORRECT: True, UNGRADED: None}.get(str(told.get("verdict")), False)
        else:
            columns |= _counts(sample)
        asked = self.theirs("question", metadata, place)
        target = self.theirs("reference_answer", metadata, place)
        if target is None:
            target = sample.target if isinstance(sample.target, str) else ", ".join(sample.target)
        return Answer(
            place=place,
            benchmark=name,
            model=model,
            problem_id=str(self.theirs("problem_id", metadata, place) or sample.id),
            question=_question(sample) if asked is None else str(asked),
            reference=str(target),
            text=text,
            thinking=thinking,
            correct=verdict,
            sample=sample.epoch - 1,
            budget=budget,
            columns=columns,
        )

    def _judged(self, place: str, sample: EvalSample) -> tuple[bool | None, str | None]:
        """Their verdict, None where there is none, and the answer that was scored."""
        try:
            score = self._score(place, sample)
            return (None, None) if score is None else (_verdict(place, score), score.answer)
        except UserError:
            if not self.regrade:
                raise
            return None, None  # no verdict of theirs to compare ours with

    def _score(self, place: str, sample: EvalSample) -> Score | None:
        scores = sample.scores or {}
        if self.scorer is not None and scores and self.scorer not in scores:
            has = ", ".join(scores)
            raise UserError(f"{place} has the scorers {has}; import.scorer {self.scorer} is none")
        if self.scorer is None and len(scores) > 1:
            raise UserError(f"{place} has the scorers {', '.join(scores)}; set import.scorer")
        return scores.get(self.scorer or next(iter(scores), ""))


def _log(file: Path) -> EvalLog:
    """The log.

    Raises:
        UserError: inspect_ai is not installed, or cannot read the file.
    """
    reader = module_of("inspect_ai.log", "import=inspect")
    try:
        log: EvalLog = reader.read_eval_log(str(file))
    except Exception as error:  # whatever a damaged file makes its reader raise
        reason = reason_of(error)
        raise UserError(f"{file} is no log that inspect_ai can read ({reason})") from None
    if not log.samples:
        raise UserError(f"{file} has no samples; was it written with --no-log-samples?")
    return log


def _texts(sample: EvalSample) -> tuple[str | None, str | None]:
    """Answer and thinking of the output."""
    if not sample.output.choices:
        return None, None
    content = sample.output.choices[0].message.content
    if isinstance(content, str):
        return content, None
    parts = [part.reasoning for part in content if part.type == "reasoning"]
    text = "\n".join(part.text for part in content if part.type == "text")
    return text, "\n".join(parts) if parts else None


def _question(sample: EvalSample) -> str:
    """The input as text: what the user's turns say."""
    if isinstance(sample.input, str):
        return sample.input
    return "\n\n".join(turn.text for turn in sample.input if turn.role == "user")


def _counts(sample: EvalSample) -> dict[str, object]:
    """Tokens and seconds as the log counts them."""
    usage, found = sample.output.usage, dict[str, object]()
    if usage is not None:
        found["prompt_tokens"] = usage.input_tokens
        if usage.reasoning_tokens is not None:
            found["thinking_tokens"] = usage.reasoning_tokens
            found["answer_tokens"] = max(0, usage.output_tokens - usage.reasoning_tokens)
    if sample.output.time is not None:
        found["wall_seconds"] = sample.output.time
    return found


def _verdict(place: str, score: Score) -> bool:
    """Right or wrong.

    Raises:
        UserError: a score between, or of several values.
    """
    value = score.value
    known = LETTERS.get(value) if isinstance(value, str) else None
    found = as_truth(value) if known is None and not isinstance(value, (list, dict)) else known
    if found is None:
        raise UserError(
            f"{place}: the score is {value!r:.60}, neither right (C, 1) nor wrong (I, 0); set "
            "import.scorer to a scorer that says which, or import.regrade=true"
        )
    return found
