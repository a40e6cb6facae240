"""The paper's figures beside those of its published weights; `+experiment=paper` on the laptop."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import report_world as world

from s1x import report
from s1x.compose import ROOT
from s1x.plan.machine import Machine
from s1x.report import paper

POINTS = (("natural", None, 0), ("Wait x 1", None, 1))


def of_model(folder: Path, name: str, **more: Any) -> Path:
    """An evaluation of published weights on AIME24."""
    world.evaluation(folder, world.Benchmark(name="aime24", num_problems=30), "base", **more)
    rows = pl.read_parquet(folder / "rows.parquet", glob=False)
    right = [i % 30 < 15 for i in range(len(rows))]  # about half of each point
    verdicts = pl.Series("verdict", ["correct" if r else "wrong" for r in right])
    rows.with_columns(pl.lit(name).alias("model"), verdicts).write_parquet(folder / "rows.parquet")
    info = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**info, "model": name}))
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    text = (folder / "tables" / "reproduction.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def written(folder: Path, evaluations: list[Path], **more: Any) -> Path:
    made = world.Made(evaluations, None, None, world.tokenizer(folder / "tokenizer"))
    report.run(world.context(made, **more), evaluations, None, None, folder / "report")
    return folder / "report"


def test_each_figure_has_ours_and_a_verdict(tmp_path: Path) -> None:
    found = [
        of_model(tmp_path / "s1", "s1-32b", curve=POINTS),
        of_model(tmp_path / "base", "qwen2.5-32b-instruct", prompt_format="direct"),
    ]
    folder = written(tmp_path, found)
    rows = {(r["model"], r["benchmark"]): r for r in table(folder)}
    assert not any(name.startswith("s1.1") for name, _ in rows)  # not run
    natural = rows["s1-32B without budget forcing", "aime24"]
    assert (natural["paper %"], natural["n"]) == ("50.0", "30")
    low, high = float(natural["ours %, low"]), float(natural["ours %, high"])
    assert (low <= 50 <= high) == (natural["verdict"] == "agrees")
    base = rows["Qwen2.5-32B-Instruct", "aime24"]
    assert (float(base["ours %"]), base["verdict"]) == (50.0, "differs")
    for missing in (("s1-32B, Wait x 4", "aime24"), ("s1-32B, Wait x 1", "math500")):
        assert (rows[missing]["ours %"], rows[missing]["verdict"]) == ("", "not measured")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.index('id="reproduction"') < page.index('id="curves"')


def test_other_models_and_trained_ones_are_no_reproduction(tmp_path: Path) -> None:
    own = of_model(tmp_path / "own", "my-model", curve=POINTS)
    assert not (written(tmp_path, [own]) / "tables" / "reproduction.csv").exists()
    rows = pl.read_parquet(own / "rows.parquet", glob=False)
    tuned = rows.with_columns(
        pl.lit("s1-32b").alias("model"), pl.lit("fine_tuned").alias("model_role")
    )
    tuned.write_parquet(own / "rows.parquet")
    assert not (written(tmp_path / "2", [own]) / "tables" / "reproduction.csv").exists()


def test_figures_are_the_papers() -> None:
    percent = {figure.name: list(figure.percent.values()) for figure in paper.FIGURES}
    assert percent["s1-32B, Wait x 4"] == [56.7, 92.2, 58.6]
    assert percent["s1.1-32B, Wait x 2"] == [56.7, 95.4, 63.6]
    assert len(percent) == 8


def test_the_paper_is_planned_without_training() -> None:
    from hydra import compose, initialize_config_dir

    from s1x.compose import CONF, register
    from s1x.config import load
    from s1x.plan import plan_run

    register()
    for model in ("s1_32b", "s1_1_32b", "qwen2_5_32b_instruct"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            words = ["+experiment=paper", "scale=h100x8", f"model={model}"]
            config = load(compose("config", overrides=words))
        assert config.root.stages == ["evaluate", "report"]
        plan = plan_run(config, ["plan"], Machine(hub_reachable=True))
        text = "\n".join(plan.table())
        assert "training time" not in text
        assert "evaluate aime24" in text


def test_the_paper_is_rehearsed_on_the_laptop(tmp_path: Path) -> None:
    questions = ROOT / "examples" / "school_math.jsonl"
    (tmp_path / "aime24.jsonl").write_text(
        "\n".join(questions.read_text(encoding="utf-8").splitlines()[:6]), encoding="utf-8"
    )
    run = [
        sys.executable,
        "run.py",
        "+experiment=paper",
        "scale=quick",
        f"output={tmp_path / 'out'}",
    ]
    own = ["benchmark=jsonl", f"benchmark.path={tmp_path / 'aime24.jsonl'}", "model.name=s1-32b"]
    for words in (["max_problems=20"], own):
        said = subprocess.run([*run, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        rows = table(tmp_path / "out" / "latest")
        measured = [row for row in rows if row["verdict"] != "not measured"]
        if words is own:
            assert {row["model"] for row in rows} == {
                f.name for f in paper.FIGURES if "s1-" in f.name
            }
            assert len(measured) == 4
        else:
            assert (len(rows), measured) == (24, [])
