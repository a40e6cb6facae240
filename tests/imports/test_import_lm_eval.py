"""Logs of lm-evaluation-harness become rows with intervals, pairs and a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from logs import QUESTIONS, lm_eval_log, report_of, rows_of

from s1x.curve.interval import share_interval
from s1x.errors import SettingError, UserError
from s1x.imports.lm_eval import LmEval

RIGHT = [True] * 12 + [False] * 8


def test_a_log_has_its_accuracy_with_our_interval_and_no_tokens(tmp_path: Path) -> None:
    file = lm_eval_log(tmp_path / "log", RIGHT)
    rows = rows_of(tmp_path, "import=lm_eval", f"import.path={file.parent}")
    assert rows["verdict"].to_list() == ["correct"] * 12 + ["wrong"] * 8
    assert rows["extracted_answer"][0] == "1"
    assert rows["question"].to_list() == [q for q, _ in QUESTIONS], "the question, not the prompt"
    assert rows["model"].unique().to_list() == ["lab/one"]
    for unknown in ("thinking_tokens", "answer_tokens", "end_reason", "token_ids", "wall_seconds"):
        assert rows[unknown].null_count() == len(rows), unknown
    summary = report_of(tmp_path, "import=lm_eval", f"import.path={file.parent}")
    (curve,) = summary["curves"]
    (point,) = curve["points"]
    low, high = share_interval([float(right) for right in RIGHT])
    assert point["accuracy_percent"] == pytest.approx(60.0)
    assert point["interval_percent"] == pytest.approx([100 * float(low), 100 * float(high)])
    for unknown in (
        "mean_thinking_tokens",
        "mean_answer_tokens",
        "natural_percent",
        "loop_percent",
    ):
        assert point[unknown] is None, unknown
    assert curve["control_percent"]["value"] is None
    assert curve["scaling_per_doubling"]["value"] is None
    assert any("thinking tokens are not recorded" in words for words in curve["warnings"])
    page = next((tmp_path / "out" / "latest").glob("report.html")).read_text(encoding="utf-8")
    assert "thinking tokens not recorded" in page, "the bars that stand for the curve"
    assert summary["finding"] == "s1x: accuracy on sums is 60.0%"


def test_two_models_are_compared_question_by_question(tmp_path: Path) -> None:
    lm_eval_log(tmp_path / "a", RIGHT, "lab/one")
    lm_eval_log(tmp_path / "b", [True] * 10 + [False] * 10, "lab/two")
    paths = f"import.path=[{tmp_path / 'a'},{tmp_path / 'b'}]"
    report_of(tmp_path, "import=lm_eval", paths)
    table = (tmp_path / "out" / "latest" / "tables" / "ablation.csv").read_text(encoding="utf-8")
    two = next(line for line in table.splitlines() if "lab/two" in line)
    assert ",-10.0" in two, "two problems of twenty, paired"


def test_files_of_several_budgets_are_points_of_one_curve(tmp_path: Path) -> None:
    for most, right in ((8, 6), (64, 12), (512, 16)):
        texts = [
            "<think>" + "so " * (most // 8 if n % 2 else 1) + f"</think>The answer is {answer}."
            for n, (_, answer) in enumerate(QUESTIONS)
        ]
        lm_eval_log(tmp_path / f"max_{most}", [n < right for n in range(20)], texts=texts)
    settings = ["import=lm_eval", f"import.path={tmp_path}/max_*", "import.policy=budget_forcing"]
    settings += ["import.budgets={max_8/:8,max_64/:64,max_512/:512}"]
    (curve,) = report_of(tmp_path, *settings)["curves"]
    assert [p["setting"] for p in curve["points"]] == ["max 8", "max 64", "max 512"]
    assert [p["limit_max_tokens"] for p in curve["points"]] == [8, 64, 512]
    found = curve["allocation"]
    assert [p["right_percent"]["value"] for p in found["points"]] == pytest.approx([30, 60, 80])
    assert [p["starved_percent"]["value"] for p in found["points"]] == pytest.approx([50, 20, 0])
    assert found["points"][0]["perfect_percent"]["value"] is None, "that would take token counts"
    assert found["sufficient_tokens"]["value"] is None
    (counted,) = report_of(tmp_path, *settings, "import.tokenizer=puzzle_base")["curves"]
    tokens = [p["mean_thinking_tokens"] for p in counted["points"]]
    assert tokens == sorted(tokens)
    assert 0 < tokens[0] < tokens[-1]
    assert counted["scaling_per_doubling"]["value"] > 0
    assert counted["allocation"]["points"][0]["perfect_percent"]["value"] is not None


def test_graded_again_their_verdicts_are_held_against_ours(tmp_path: Path) -> None:
    texts = [
        f"It is {answer}." if n != 3 else "No idea." for n, (_, answer) in enumerate(QUESTIONS)
    ]
    log = lm_eval_log(tmp_path / "log", RIGHT, texts=texts)
    settings = ["import=lm_eval", f"import.path={log}", "import.regrade=true"]
    rows = rows_of(tmp_path, *settings)
    assert rows["verdict"].to_list().count("correct") == 19
    notes = report_of(tmp_path, *settings)["notes"]
    assert "graded again (Exact), as there in 11 of 20 answers" in notes[0]


def test_several_responses_are_samples_when_graded_again(tmp_path: Path) -> None:
    log = lm_eval_log(tmp_path / "log", [True] * 4, resps=[["it is 1", "it is 2", "it is 9"]])
    rows = rows_of(tmp_path, "import=lm_eval", f"import.path={log}", "import.regrade=exact")
    assert rows.filter(rows["problem_id"] == "0")["verdict"].to_list() == [
        "correct",
        "wrong",
        "wrong",
    ]
    assert rows["sample"].to_list() == [0, 1, 2] * 4


def test_a_choice_by_likelihood_is_an_answer(tmp_path: Path) -> None:
    asked = {f"gen_args_{n}": {"arg_0": "Q", "arg_1": f" {w}"} for n, w in enumerate(("no", "yes"))}
    changes: dict[str, Any] = {"arguments": asked, "target": "1"}
    changes |= {"metrics": ["acc"], "acc": 1.0}
    scores = [[["-3.5", "False"]], [["-0.5", "True"]]]
    log = lm_eval_log(
        tmp_path / "log", [True], resps=scores, filtered_resps=[s[0] for s in scores], **changes
    )
    (row,) = rows_of(tmp_path, "import=lm_eval", f"import.path={log}").iter_rows(named=True)
    assert (row["verdict"], row["extracted_answer"], row["reference_answer"]) == (
        *("correct", "yes", "yes"),
    )
    assert row["answer_text"] is None


def test_rows_of_a_benchmark_of_ours_take_its_questions(tmp_path: Path) -> None:
    task = "puzzles"
    from s1x_puzzles.puzzles import Puzzles

    problems = Puzzles(split="easy", grader="exact", answer_format="", in_domain=True).load()[:3]
    log = lm_eval_log(tmp_path / "log", [True, False, True], task=task)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line, problem in zip(lines, problems, strict=True):
        line["doc"] = {"question": problem.question.replace(" ", "  "), "answer": "none"}
    log.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    settings = ["import=lm_eval", f"import.path={log}", "import.benchmarks={puzzles:puzzles_easy}"]
    rows = rows_of(tmp_path, *settings)
    assert rows["benchmark"].to_list() == ["puzzles_easy"] * 3
    assert rows["question"].to_list() == [p.question for p in problems]
    assert rows["reference_answer"].to_list() == [p.answer for p in problems]
    assert rows["domain"].to_list() == [p.domain for p in problems]
    assert rows["problem_id"].to_list() == [p.problem_id for p in problems]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exact_match": 0.4}, r"line 1: exact_match is 0\.4, neither right \(1\) nor wrong"),
        ({"metrics": ["acc", "exact_match"], "acc": 1.0}, "acc and exact_match could each be"),
        ({"metrics": []}, r"line 1 has the metrics none; set import\.metric"),
        ({"resps": "text"}, "line 1: resps is 'text', not a list of lists"),
        ({"resps": [[["x", 1]]]}, "line 1: resps is neither texts nor log-likelihoods"),
    ],
)
def test_what_is_no_verdict_is_refused_with_file_and_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    log = lm_eval_log(tmp_path / "log", [True, True], **change)
    with pytest.raises(UserError, match=message) as error:
        _ = LmEval(path=str(log)).answers
    assert str(log) in str(error.value)


def test_a_file_that_is_cut_off_or_no_log_is_refused(tmp_path: Path) -> None:
    log = lm_eval_log(tmp_path / "log", [True, True])
    whole = log.read_text(encoding="utf-8")
    log.write_text(whole[:-30], encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2 is not JSON; the file is cut off"):
        _ = LmEval(path=str(log)).answers
    log.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1 is no sample of lm-evaluation-harness: no doc_id"):
        _ = LmEval(path=str(log)).answers
    log.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="has no answers in it"):
        _ = LmEval(path=str(log)).answers
    log.with_name(log.name.replace("samples", "results")).with_suffix(".json")
    (tmp_path / "other.jsonl").write_text(whole, encoding="utf-8")
    with pytest.raises(UserError, match="is not named as lm-evaluation-harness names samples"):
        _ = LmEval(path=str(tmp_path / "other.jsonl")).answers
    log.write_text(whole, encoding="utf-8")
    next(log.parent.glob("results_*.json")).unlink()
    with pytest.raises(UserError, match=r"names the model; set import\.model"):
        _ = LmEval(path=str(log)).answers
    with pytest.raises(SettingError, match=r"import\.path must be a file, folder or glob"):
        _ = LmEval(path=str(tmp_path / "nothing")).answers


def test_half_a_surrogate_pair_in_a_text_ends_no_import(tmp_path: Path) -> None:
    log = lm_eval_log(tmp_path / "log", [True], texts=["so \ud800 it is 1"])
    (row,) = rows_of(tmp_path, "import=lm_eval", f"import.path={log}").iter_rows(named=True)
    assert row["answer_text"] == "so ? it is 1"


def test_two_runs_that_are_not_told_apart_are_refused(tmp_path: Path) -> None:
    lm_eval_log(tmp_path / "a", RIGHT)
    lm_eval_log(tmp_path / "b", RIGHT)
    with pytest.raises(UserError, match=r"answers question 0 at natural, as .* does; tell files"):
        rows_of(tmp_path, "import=lm_eval", f"import.path=[{tmp_path / 'a'},{tmp_path / 'b'}]")


def test_settings_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    log = lm_eval_log(tmp_path / "log", RIGHT)
    settings = ["import=lm_eval", f"import.path={log}"]
    with pytest.raises(SettingError, match=r"import\.budgets must be keyed by parts"):
        rows_of(tmp_path, *settings, "import.budgets={max_8:8}")
    with pytest.raises(SettingError, match=r"import\.benchmarks must be keyed by names"):
        rows_of(tmp_path, *settings, "import.benchmarks={products:puzzles_easy}")
    with pytest.raises(SettingError, match=r"import\.grader_settings must be"):
        rows_of(tmp_path, *settings, "import.grader_settings={rules:[boxed]}")
    with pytest.raises(UserError, match="import does nothing without one of the stages"):
        rows_of(tmp_path, *settings, "stages=[evaluate]")


def test_import_beside_an_evaluation_of_ours_is_one_report(tmp_path: Path) -> None:
    questions = tmp_path / "sums.jsonl"
    lines = [json.dumps({"question": q, "answer": a}) for q, a in QUESTIONS[:4]]
    questions.write_text("\n".join(lines), encoding="utf-8")
    log = lm_eval_log(tmp_path / "log", [True] * 4)
    summary = report_of(
        tmp_path,
        *("stages=[evaluate,report]", "evaluate.models=[base]", "evaluate.base_direct=false"),
        *("benchmark=jsonl", f"benchmark.path={questions}", "benchmark.grader=exact"),
        *("budget.max_answer_tokens=8", "curve.max_thinking_tokens=[8]", "curve.num_waits=[0]"),
        *("import=lm_eval", f"import.path={log}", "import.benchmarks={}"),
    )
    assert {curve["model_role"] for curve in summary["curves"]} == {"base", "imported"}
    assert [run["label"] for run in summary["runs"]] == ["s1x", "lab/one"]
    table = (tmp_path / "out" / "latest" / "tables" / "ablation.csv").read_text(encoding="utf-8")
    assert "sums,max 8,base," in table, "paired with ours on the same questions"
    assert "lab/one, imported" in table
