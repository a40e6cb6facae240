"""Tables, the ledger, the paper's numbers, and text that wants to be markup."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x.curve import Estimate, slope
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.inputs import read
from s1x.report.parts import Row, Table
from s1x.report.sections.costs import ledger, sft_share_percent, total


def test_csv_spreads_intervals_and_leaves_unknown_empty() -> None:
    rows: list[Row] = [{"name": "a", "accuracy %": Estimate(50.0, 40.0, 60.0)}, {"name": "b"}]
    table = Table("t", "T", rows)
    written = list(csv.reader(io.StringIO(table.to_csv())))
    assert written[0] == ["name", "accuracy %", "accuracy %, low", "accuracy %, high"]
    assert written[1:] == [["a", "50.0", "40.0", "60.0"], ["b", "", "", ""]]
    assert table.columns == {"name": False, "accuracy %": True}
    assert [table.cells(row)[1][0] for row in rows] == ["50.0 (40.0 to 60.0)", "—"]


def test_differences_bear_their_sign() -> None:
    row = {"gain": Estimate(12.0, -4.06, 19.8)}
    assert Table("t", "T", [row]).cells(row) == [("+12.0 (-4.1 to +19.8)", "n")]


def test_ledger_counts_each_folder_once_and_keeps_unknown_unknown(made: world.Made) -> None:
    inputs = read(
        world.context(made, cost_folders=[made.training]),
        [made.evaluations[0], made.evaluations[0]],
        made.selection,
        made.training,
    )
    entries = ledger(inputs)
    assert [e["stage"] for e in entries] == ["train", "select", "evaluate"]
    assert total(entries, "wall_seconds") == pytest.approx(61 + 9 + 30)
    assert total(entries, "gpu_hours") is None
    shares = sft_share_percent(entries)
    assert shares["wall_seconds"] == pytest.approx(61.0)
    assert shares["gpu_hours"] is None
    assert shares["processed_tokens"] == pytest.approx(100 * 305 / 306)


def test_stated_prices_make_money_of_gpu_hours(made: world.Made, tmp_path: Path) -> None:
    cost = world.cost("train", "SFT") | {"gpu_hours": 7.0}
    (tmp_path / "costs.json").write_text(json.dumps([cost, cost | {"usd": 50.0}]))
    prices = {"usd_per_gpu_hour": 3.0}
    context = {"cost_folders": [tmp_path], "prices": prices}
    entries = ledger(read(context, made.evaluations[:1], None, None))
    assert [e["usd"] for e in entries][:2] == [21.0, 50.0]


def test_broken_files_are_named(made: world.Made, tmp_path: Path) -> None:
    (tmp_path / "funnel.json").write_text("{")
    with pytest.raises(UserError, match=r"funnel.json is not JSON"):
        read({}, made.evaluations, tmp_path, None)


@pytest.mark.parametrize(
    ("tokens", "accuracy", "method"),
    [
        ((7939, 7158, 8263, 7108, 7500), (26.7, 30.0, 33.3, 33.3, 40.0), "token-conditional (TCC)"),
        ((1024, 2048, 4031, 5664, 6330), (3.3, 30.0, 33.3, 33.3, 40.0), "TCC + BF"),
        ((8033, 9651), (30.0, 36.7), "class-conditional (CCC)"),
    ],
)
def test_published_slopes_follow_from_published_points(
    tokens: Any, accuracy: Any, method: str
) -> None:
    row = _method(method)
    found = slope(tokens, accuracy, per_doubling=True)
    assert found == pytest.approx(row["scaling per doubling"], abs=0.6), "from rounded points"


def _method(name: str) -> dict[str, float]:
    return dict(zip(paper.METRICS, paper.TABLE_3[name], strict=True))


def test_published_curve_slope_is_table_threes() -> None:
    curve = paper.curve("aime24")
    assert curve is not None
    assert curve[-2] == (7319.5, 56.7)
    name = paper.METHODS["budget_forcing"][True]
    assert name is not None
    assert _method(name)["performance %"] == max(y for _, y in curve)


def test_published_figures_agree_with_the_drawings(shared_data: Path) -> None:
    figures = json.loads((shared_data / "figures.json").read_text())["scaling"]["panels"]
    for panel, key in (("MATH500", "math500"), ("GPQA Diamond", "gpqa_diamond")):
        points = figures[panel]["series"][0]["points"]
        ours = paper.curve(key)
        assert ours is not None
        assert [(p["x"], round(p["y"], 1)) for p in points] == list(ours)


@pytest.mark.parametrize("name", ["aime25", "aime24_hard", "math", "gpqa", "jsonl"])
def test_other_benchmarks_are_not_the_papers(name: str) -> None:
    assert paper.curve(name) is None
