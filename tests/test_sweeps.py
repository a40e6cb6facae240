"""The sweeps for real, in their quickest form: what they share, what their report says."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from test_run import finish, start, summary_of

#: eight problems, three optimizer steps on 48 rows: numbers without meaning, but all real
NARROW = (
    *("benchmark=puzzles_hard", "max_problems=8", "evaluate.models=[fine_tuned]"),
    *("selection.size=48", "train.max_steps=3", "curve.max_thinking_tokens=[16,64,null]"),
)

#: two jobs at the same time, where the launcher is installed
JOBLIB = ["hydra/launcher=joblib"] if find_spec("joblib") else []


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all of them: pool, selection, training and traces are shared."""
    return tmp_path_factory.mktemp("sweeps")


class Swept:
    """What a sweep left behind."""

    def __init__(self, output: Path, said: str) -> None:
        self.said, self.summary = said, summary_of(output)
        self.report = (output / "latest").resolve()
        self.folder = max((output / "sweeps").iterdir(), key=lambda path: path.name)
        self.runs = [
            json.loads(file.read_text()) for file in sorted(self.folder.glob("*/run.json"))
        ]

    def curves(self) -> dict[str, list[str]]:
        """Name of each curve → the settings of its points."""
        return {c["name"]: [p["setting"] for p in c["points"]] for c in self.summary["curves"]}

    def tokens(self) -> list[float]:
        """Mean thinking tokens of the first curve's points."""
        return [p["mean_thinking_tokens"] for p in self.summary["curves"][0]["points"]]

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.report / "tables" / f"{name}.csv").open() as lines:
            return list(csv.DictReader(lines))

    def rows(self, job: int) -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        (folder,) = self.runs[job]["evaluations"]
        return pq.read_table(self.folder / str(job) / folder / "rows.parquet").to_pylist()


def sweep(output: Path, name: str, num_jobs: int, *narrow: str) -> Swept:
    said = finish(start(output, "-m", f"+sweep={name}", *NARROW, *narrow))
    swept = Swept(output, said)
    assert f"Report: {swept.report / 'report.html'}" in said.splitlines()
    assert said.count("Report: ") == 1, "jobs leave the last word to the sweep"
    page = (swept.report / "report.html").read_text()
    assert len(swept.runs) == num_jobs
    assert not list(swept.folder.glob("*/failed.txt"))
    assert all(name in page for name in ("Stages and fingerprints", trainings(swept)[0]))
    assert said.count("puzzles_59k: ") <= 2, "what jobs share is said once"
    return swept


def trainings(swept: Swept) -> list[str]:
    return [Path(run["training"]).name for run in swept.runs]


def test_thinking_budget(output: Path) -> None:
    swept = sweep(output, "thinking_budget", 3)
    assert swept.curves() == {"fine-tuned": ["max 16", "max 64", "natural"]}
    assert swept.tokens()[0] <= 16 < swept.tokens()[1] <= swept.tokens()[2]
    assert len(set(trainings(swept))) == 1, "trained once"


def test_wait_count(output: Path) -> None:
    swept = sweep(output, "wait_count", 2, *JOBLIB)
    assert swept.curves() == {"fine-tuned": ["natural", "Wait x 1"]}
    assert swept.tokens()[0] < swept.tokens()[1]


def test_wait_string(output: Path) -> None:
    swept = sweep(output, "wait_string", 4)
    strings = {
        "Wait": ["Wait x 2"],
        "Hmm": ["Hmm x 2"],
        "Alternatively": ["Alternatively x 2"],
        "": ["no string x 2"],
    }
    assert swept.curves() == {
        f"budget.wait_string={name or repr('')}, fine-tuned": points
        for name, points in strings.items()
    }
    for job, word in enumerate(("Wait", "Hmm", "Alternatively")):
        waited = [row for row in swept.rows(job) if row["num_waits"] == 2]
        assert waited
        assert all(row["thinking_text"].split().count(word) >= 2 for row in waited), word
    assert len(swept.table("ablation")) == 4, "one job and three differences to it"


def test_closing(output: Path) -> None:
    """Each way of closing is a curve with its accuracy and its spill, from the same traces."""
    swept = sweep(output, "closing", 4)
    ways = ("delimiter", "sentence", "line_end", "soft")
    curves = [f"budget.closing={way}, fine-tuned" for way in ways]
    points = ["max 16", "max 64", "natural"]
    assert swept.curves() == dict.fromkeys(curves, points)
    spilled = {(row["model"], row["setting"]) for row in swept.table("spill")}
    assert {(curve, "max 16") for curve in curves} <= spilled
    figures = {path.stem for path in (swept.report / "figures").glob("*.png")}
    assert {"curve_puzzles_hard", "closing_puzzles_hard"} <= figures
    plain, sentence, line, soft = (
        [row for row in swept.rows(job) if row["end_reason"] == "cut"] for job in range(4)
    )
    assert plain
    assert all(row["thinking_tokens"] <= row["limit"] for row in limited(plain, 1.0))
    assert all(row["thinking_tokens"] <= row["limit"] for row in limited([*line, *soft], 1.1))
    for ours, theirs in zip(plain, sentence, strict=True):
        tokens = ours["thinking_tokens"]
        assert ours["token_ids"][:tokens] == theirs["token_ids"][: theirs["thinking_tokens"]]
        assert theirs["forced_tokens"] > ours["forced_tokens"], "the sentence is forced"


def limited(rows: list[dict[str, Any]], margin: float) -> list[dict[str, Any]]:
    return [{**row, "limit": margin * int(row["setting"].removeprefix("max "))} for row in rows]


def test_selection_ablation(output: Path) -> None:
    swept = sweep(output, "selection_ablation", 2, "selection=s1k,random_1k")
    points = ["max 16", "max 64", "natural", "Wait x 1"]
    names = ("selection=s1k, fine-tuned", "selection=random_1k, fine-tuned")
    assert swept.curves() == dict.fromkeys(names, points)
    assert len(set(trainings(swept))) == 2
    funnels = [run["funnel"] for run in swept.summary["runs"]]
    assert funnels[0] != funnels[1]
    assert [f[-1]["rows_out"] for f in funnels] == [48, 48]
    assert len(swept.table("chosen_sets")) == 2
    figures = {path.stem for path in (swept.report / "figures").glob("*.png")}
    assert {"differences_puzzles_hard", "chosen_domain", "chosen_trace_tokens"} <= figures


def test_budget_policy_measures_models_trained_in_the_policys_format(output: Path) -> None:
    swept = sweep(output, "budget_policy", 5)
    policies = [c["policy"] for c in swept.summary["curves"]]
    formats = {
        "budget_forcing": "plain",
        "token_conditional": "token_conditional",
        "step_conditional": "step_conditional",
        "class_conditional": "plain",
        "rejection_sampling": "plain",
    }
    assert sorted(policies) == sorted(formats)
    trained = dict(zip(formats, trainings(swept), strict=True))
    for (policy, expected), run in zip(formats.items(), swept.runs, strict=True):
        assert run["context"]["choices"]["budget"] == policy
        meta = swept.folder / "0" / run["training"] / "artifact.json"
        assert json.loads(meta.read_text())["inputs"]["train"]["format"] == expected
    assert len(set(trained.values())) == 3, "three share the plain model"
    (told,) = [c for c in swept.summary["curves"] if c["policy"] == "token_conditional"]
    assert [p["setting"] for p in told["points"]] == ["told 16", "told 64", "natural"]


def test_confidence(output: Path) -> None:
    """Every rule is replayed on the samples of one job."""
    swept = sweep(output, "confidence", 1, "sampling.samples_per_problem=4")
    rows = swept.table("replays_puzzles_hard")
    rules = {row["rule"] for row in rows}
    assert {"adaptive consistency", "short-3@k", "DeepConf, best 10%"} <= rules
    assert {"vote by tail entropy", "vote of the best 90% by tail"} <= rules
    assert {row["k"] for row in rows} == {"2", "4"}
    assert all(row["token_confidences"] for row in swept.rows(0))
    figures = {path.stem for path in (swept.report / "figures").glob("*.png")}
    assert "replays_puzzles_hard" in figures


def test_sample_count(output: Path) -> None:
    swept = sweep(output, "sample_count", 2, "sampling.samples_per_problem=1,4")
    assert [c["samples_per_problem"] for c in swept.summary["curves"]] == [1, 4]
    assert [row["k"] for row in swept.table("samples")] == ["1", "2", "4"]
    assert list((swept.report / "figures").glob("parallel_puzzles_hard*.png"))


def test_search(output: Path) -> None:
    """One trace, votes, best-of-N and a tree on one axis, which the scorer's tokens are on too."""
    ways = ("budget_forcing", "majority_vote", "best_of_n", "rebase")
    swept = sweep(output, "search", 4, f"budget={','.join(ways)}", "curve.num_traces=[1,2]")
    rows = swept.table("search_puzzles_hard")
    sizes = {row["setting"]: row for row in rows}
    assert {"natural", "majority of 2", "best of 2", "REBASE of 2"} <= set(sizes)
    for name in ("majority of 2", "best of 2", "REBASE of 2"):
        assert float(sizes[name]["traces"]) >= 2
    assert float(sizes["majority of 2"]["scorer tokens"]) == 0
    for name in ("best of 2", "REBASE of 2"):
        assert float(sizes[name]["scorer tokens"]) > 0
        assert float(sizes[name]["all tokens"]) > float(sizes[name]["generated tokens"])
        assert sizes[name]["against the majority"]
    same = float(sizes["best of 2"]["generated tokens"])
    assert same == float(sizes["majority of 2"]["generated tokens"]), "the same samples"
    assert list((swept.report / "figures").glob("search_puzzles_hard*.png"))


def test_a_failed_job_is_named_and_the_same_command_runs_only_what_is_missing(
    tmp_path: Path,
) -> None:
    line = json.dumps({"question": "Solve 5x+25 = 0 (mod 19) for x.", "answer": "14"}) + "\n"
    (tmp_path / "a.jsonl").write_text(line)
    command = (
        *("-m", "stages=[evaluate,report]", "evaluate.models=[base]", "evaluate.base_direct=false"),
        *("benchmark=jsonl", f"benchmark.path={tmp_path}/a.jsonl,{tmp_path}/b.jsonl"),
        *("benchmark.grader=exact", "curve.max_thinking_tokens=[8]", "curve.num_waits=[0]"),
    )
    said = finish(start(tmp_path / "out", *command), status=1)
    named = [text for text in said.splitlines() if text.startswith("Job 1 failed: ")]
    assert named
    assert all("b.jsonl" in text for text in named)
    assert "1 of the sweep's jobs failed; the same command runs only what is missing" in said
    assert [c["benchmark"] for c in summary_of(tmp_path / "out")["curves"]] == ["a"]
    (tmp_path / "b.jsonl").write_text(line)
    said = finish(start(tmp_path / "out", *command))
    assert "a, base model: reused" in said
    assert "b, base model: reused" not in said
    assert [c["benchmark"] for c in summary_of(tmp_path / "out")["curves"]] == ["a", "b"]


def test_a_launcher_that_gives_up_leaves_a_report_over_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As submitit and joblib do where a job is killed: they raise, and no sweep has ended."""
    from s1x import app

    def killed(cfg: Any) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        (folder / "failed.txt").write_text("it never ended: killed, or out of time\n")
        raise RuntimeError("the launcher gave up")

    monkeypatch.setattr(app, "_job", killed)
    command = ["run.py", "-m", "+experiment=s1k", "seed=0,1", f"output={tmp_path}"]
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    assert app.main() == 1
    said = capsys.readouterr().err
    assert "Job 0 failed: it never ended" in said
    assert "the launcher gave up" in said
