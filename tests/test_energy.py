"""Energy counters: what is read, what runs over, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s1x import energy
from s1x.costs import note_energy
from s1x.energy import Meter


def package(powercap: Path, name: str, microjoules: int, most: int = 1_000_000_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "gpus", list)


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    first = package(tmp_path, "intel-rapl:0", 5_000_000)
    second = package(tmp_path, "intel-rapl:1", 0)
    part = package(tmp_path, "intel-rapl:0:0", 0)
    with Meter(tmp_path) as meter:
        for file, value in ((first, 365_000_000), (second, 720_000_000), (part, 99_000_000)):
            file.write_text(str(value))
    assert meter.kwh == pytest.approx((360 + 720) / 3.6e6)


def test_a_counter_that_ran_over_goes_on(tmp_path: Path) -> None:
    file = package(tmp_path, "intel-rapl:0", 900_000_000)
    with Meter(tmp_path) as meter:
        file.write_text("100000000")
    assert meter.kwh == pytest.approx(200 / 3.6e6)


def test_without_a_counter_energy_is_missing_not_zero(tmp_path: Path) -> None:
    with Meter(tmp_path / "nowhere") as meter:
        pass
    assert meter.kwh is None
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps([{"device": "cpu", "energy_kwh": None}]))
    note_energy(tmp_path, None)
    assert json.loads(costs.read_text()) == [{"device": "cpu", "energy_kwh": None}]


def test_energy_goes_to_what_was_computed_here(tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    devices = (None, "server", "cpu", "cpu")
    costs.write_text(json.dumps([{"device": d, "energy_kwh": None} for d in devices]))
    note_energy(tmp_path, 0.5)
    assert [e["energy_kwh"] for e in json.loads(costs.read_text())] == [None, None, 0.5, None]
