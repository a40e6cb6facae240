"""What a selection writes: loadable by others, the same everywhere, told in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_pools import shipped, write_pool

from s1x.errors import SettingError, UserError
from s1x.selection.recipe import Recipe
from s1x.selection.stage import run

NUM_ROWS = 400


def columns() -> dict[str, Any]:
    return {
        "question": [f"Question {i} costs $5 | or `6`?" for i in range(NUM_ROWS)],
        "solution": [str(i) for i in range(NUM_ROWS)],
        "reasoning_trace": [
            None if i % 10 == 0 else f"trace {i} " * (i % 40 + 1) for i in range(NUM_ROWS)
        ],
        "attempt": [f"Answer: {i}" for i in range(NUM_ROWS)],
        "source": [f"source_{i % 3}" for i in range(NUM_ROWS)],
        "domain": [None if i % 20 == 3 else f"domain $x_{i % 7}$" for i in range(NUM_ROWS)],
        "level": ["hard" if i % 2 else "easy" for i in range(NUM_ROWS)],
        "is_correct_small": [i % 3 == 0 for i in range(NUM_ROWS)],
        "cot_type": ["math"] * NUM_ROWS,
        "own": pa.array(list(range(NUM_ROWS)), pa.int32()),
    }


def count(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("selection")
    pool = write_pool(place / "pool", columns(), 64, 3)
    counts = {
        "name": "my pool",
        "rows_read": NUM_ROWS + 2,
        "bad_reasons": {"not JSON": 2},
        "license": "CC BY 4.0",
    }
    (pool / "pool.json").write_text(json.dumps(counts))
    run(pool, shipped("s1k", size=50), {}, 0, place / "out", count)
    return place / "out"


def test_chosen_rows_keep_every_column(folder: Path) -> None:
    chosen = pq.read_table(folder / "chosen.parquet")
    made = columns()
    assert chosen.num_rows == 50
    assert chosen.column_names == ["row", *made, "trace_tokens"]
    assert chosen.schema.field("own").type == pa.int32()
    for row in chosen.to_pylist():
        number = row["row"]
        assert row["question"] == made["question"][number]
        assert row["own"] == number
        assert row["trace_tokens"] == 2 * (number % 40 + 1)  # counted, for the pool did not say
        assert row["reasoning_trace"]
        assert not row["is_correct_small"]


def test_datasets_loads_the_folder_and_s1ks_schema(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    cache = str(tmp_path)
    chosen = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
    assert len(chosen) == 50
    assert "reasoning_trace" in chosen.column_names
    s1k = datasets.load_dataset(str(folder), "s1K", split="train", cache_dir=cache)
    assert s1k.column_names == [
        "solution",
        "question",
        "cot_type",
        "source_type",
        "metadata",
        "cot",
        "thinking_trajectories",
        "attempt",
    ]
    assert s1k["question"][:] == chosen["question"][:]
    assert s1k[0]["thinking_trajectories"] == [chosen[0]["reasoning_trace"]]
    assert s1k[0]["source_type"] == chosen[0]["source"]
    assert s1k[0]["cot_type"] == "math"
    dropped = datasets.load_dataset(str(folder), "dropped", split="train", cache_dir=cache)
    assert len(dropped) == NUM_ROWS - 50
    assert sorted([*dropped["row"][:], *chosen["row"][:]]) == list(range(NUM_ROWS))


def test_the_card_tells_the_whole_story(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "# s1k: 50 of 400 questions" in card
    assert "recipe `s1k`, seed 0" in card
    assert "| pool | 402 | 400 | 2 unreadable: not JSON |" in card
    assert "40 no reasoning_trace" in card
    assert "Licence of the pool: CC BY 4.0." in card
    assert "| source_0 | 134 |" in card
    assert "length_bias: 2.0" in card
    assert "trace_tokens: counted with the tokenizer" in card
    assert "benchmarks, nothing was compared" in card


def test_costs_have_no_guess(folder: Path) -> None:
    (cost,) = json.loads((folder / "costs.json").read_text())
    assert cost["stage"] == "select"
    assert cost["model_calls"] == 0
    assert cost["energy_kwh"] is None


def test_summary_knows_what_the_pool_knows(folder: Path) -> None:
    summary = json.loads((folder / "funnel.json").read_text())
    chosen = pq.read_table(folder / "chosen.parquet").to_pylist()
    assert summary["share_hard"] == sum(r["level"] == "hard" for r in chosen) / 50
    assert summary["share_attempts_correct"] is None
    assert summary["trace_tokens_chosen"] == sum(r["trace_tokens"] for r in chosen)


def test_other_processes_choose_the_same(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from pathlib import Path\n"
        "from small_pools import shipped\n"
        "from s1x.selection.stage import run\n"
        "from test_selection_outputs import count\n"
        "run(Path(sys.argv[1]), shipped('s1k', size=50), {}, 0, Path(sys.argv[2]), count)"
    )
    here = str(Path(__file__).parent)
    for seed, threads in (("1", "1"), ("2", "4")):
        out = tmp_path / seed
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "OMP_NUM_THREADS": threads,
            "POLARS_MAX_THREADS": threads,
        }
        command = [sys.executable, "-c", code, str(folder.parent / "pool"), str(out), here]
        subprocess.run(command, check=True, env=env, cwd=Path(__file__).parents[2])
        for name in ("chosen.parquet", "s1k.parquet", "dropped.parquet"):
            assert (out / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"step": "mising"}], r"steps\[0\].step must be one of .*; did you mean missing\?"),
        (
            [{"step": "missing"}, {"step": "longest", "sise": 5}],
            r"steps\[1\].sise is not a setting of Longest; did you mean size",
        ),
        (
            [{"step": "domain_draw", "length_bias": 0.5}],
            r"steps\[0\].length_bias must be 1 or more, got 0.5",
        ),
        ([{"step": "random", "size": "many"}], r"steps\[0\].size must be of its type"),
        ([{"step": "decontaminate", "rule": "all"}], r"steps\[0\].rule must be one of any, share"),
        (
            [{"step": "trace_length", "min_tokens": 9, "max_tokens": 3}],
            r"max_tokens must be min_tokens \(9\)",
        ),
        ([{"step": "format", "patterns": {"x": "(?=a)"}}], r"patterns.x must be RE2 syntax"),
        ([{"step": "domain_draw", "trusted": [{"surce": "a"}]}], r"steps\[0\]"),
        (["missing"], r"steps\[0\] must be a mapping with a key step"),
    ],
)
def test_mistakes_in_a_recipe_are_found_before_anything_runs(steps: list[Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Recipe(steps=steps)


def test_override_changes_one_option_of_a_step() -> None:
    recipe = shipped("s1k", override={"decontaminate": {"common_questions": None}})
    step = dict(recipe.built())["decontaminate"]
    assert step.common_questions is None  # type: ignore[attr-defined]
    assert step.ngram_words == 8  # type: ignore[attr-defined]
    with pytest.raises(SettingError, match="override must be of steps in this recipe"):
        shipped("s1k", override={"looping": {}})


def test_own_step_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_steps.py").write_text(
        "from dataclasses import dataclass\n"
        "import polars as pl\n"
        "from s1x.option import setting\n"
        "from s1x.selection.step import Drops, Rows, Step\n"
        "@dataclass(frozen=True)\n"
        "class Shouting(Step):\n"
        "    mark: str = setting('!', 'what shouting ends in')\n"
        "    def __call__(self, rows: Rows) -> Drops:\n"
        "        return rows.drop({'shouts': pl.col('question').str.ends_with(self.mark)})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pool = write_pool(tmp_path / "pool", {"question": ["a", "b!", "c?"]})
    recipe = Recipe(size=None, steps=[{"step": "my_steps.Shouting", "mark": "?"}])
    summary = run(pool, recipe, {}, 0, tmp_path / "out")
    assert summary["steps"][-1]["reasons"] == {"shouts": 1}


def test_the_code_of_an_own_step_is_part_of_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from dataclasses import dataclass\n"
        "from s1x.selection.step import Step\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Step):\n"
        "    def __call__(self, rows):\n"
        "        return rows.none()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_step.py").write_text(source)
    recipe = Recipe(steps=[{"step": "edited_step.Mine"}])
    before = recipe.fingerprint()
    assert recipe.fingerprint() == before
    (tmp_path / "edited_step.py").write_text(source + "# edited\n")
    assert recipe.fingerprint() != before
    changed = shipped("s1k", override={"decontaminate": {"common_questions": 7}})
    assert changed.fingerprint() != shipped("s1k").fingerprint()
    uploaded = shipped("s1k", push_to_hub="me/mine", private=False)
    assert uploaded.fingerprint() == shipped("s1k").fingerprint()


def test_an_own_step_that_does_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "from s1x.selection.step import Step\nclass Idle(Step):\n    pass\n"
    (tmp_path / "idle_step.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"idle_step\.Idle lacks __call__"):
        Recipe(steps=[{"step": "idle_step.Idle"}])
