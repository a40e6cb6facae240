"""What of an option reaches a fingerprint: settings that change results, code that is not ours."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from s1x.budget.budget_forcing import BudgetForcing
from s1x.classes import load_class, nearest, source_hash
from s1x.errors import SettingError, UserError
from s1x.option import Option, result_settings, setting


@dataclass(frozen=True)
class Inner(Option):
    rank: int = setting(8)
    port: int = setting(1, affects_result=False)


@dataclass(frozen=True)
class Outer(Option):
    rate: float = setting(0.1)
    hosts: list[str] = setting(factory=list, affects_result=False)
    inner: Inner = field(default_factory=Inner)
    many: list[Inner] = field(default_factory=list)


def settled(option: Option) -> dict[str, object]:
    return {k: v for k, v in result_settings(option).items() if not k.startswith("_")}


def test_settings_that_cannot_change_a_result_stay_out_at_any_depth() -> None:
    one = Outer(inner=Inner(port=1), many=[Inner(port=2)])
    other = Outer(hosts=["a"], inner=Inner(port=3), many=[Inner(port=4)])
    assert result_settings(one) == result_settings(other)
    assert set(settled(one)) == {"rate", "inner", "many"}
    assert result_settings(Outer(inner=Inner(rank=9))) != result_settings(Outer())


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    sys.modules.pop(name, None)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(SettingError, match="rate must be a finite number"):
        Outer(rate=value)


def test_edited_code_outside_the_package_is_another_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    policy = (
        "import own_helper\nfrom s1x.budget.budget_forcing import BudgetForcing\n"
        "class Own(BudgetForcing):\n    waits = {}\n"
    )
    seen = []
    for waits, helper in ((1, "x = 1"), (2, "x = 1"), (2, "x = 2"), (1, "x = 1")):
        write(tmp_path, "own_helper", helper)
        write(tmp_path, "own_policy_for_test", policy.format(waits))
        seen.append(result_settings(load_class("own_policy_for_test.Own", "budget")()))
    assert seen[0]["_source_"]
    assert len({str(s) for s in seen}) == 3, "the class, or what it imports, was edited"
    assert seen[0] == seen[3]


def test_our_own_classes_have_no_source_hash() -> None:
    assert source_hash(BudgetForcing) is None
    assert "_source_" not in result_settings(BudgetForcing())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.at.all.Class", "nowhere"),
        ("s1x.option.Nothing", "no Nothing"),
        ("plain", "plain"),
        ("s1x.option.setting", "must be a class"),
    ],
)
def test_a_class_that_cannot_be_loaded_is_named(path: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        load_class(path, "budget._target_")
    assert path in str(raised.value)


def test_did_you_mean() -> None:
    assert nearest("num_wait", ["num_waits", "seed"]) == "did you mean num_waits?"
    assert nearest("zzz", ["num_waits"], "it has num_waits") == "it has num_waits"
