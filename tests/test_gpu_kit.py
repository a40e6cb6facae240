"""The GPU kit, rehearsed on the CPU: no typo may cost the first minute on a card."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KIT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu" / "kit.py"


def rehearse(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Any, str]:
    """Runs the kit in tiny form; also returns its JSON and its page."""
    out = folder / "gpu.json"
    done = subprocess.run(
        [sys.executable, str(KIT), "--tiny", "--out", str(out), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    parts = json.loads(out.read_text(encoding="utf-8"))["parts"] if out.exists() else {}
    page = out.with_suffix(".md").read_text(encoding="utf-8") if out.exists() else ""
    return done, parts, page


def named(part: dict[str, Any]) -> dict[str, Any]:
    """Figures of a part by name."""
    return {figure["name"]: figure["value"] for figure in part["figures"]}


def test_training_and_engine_in_small(tmp_path: Path) -> None:
    done, parts, page = rehearse(tmp_path, "--parts", "a,c")
    assert done.returncode == 0, (parts, done.stderr[-2000:])
    training, engine = named(parts["a"]), named(parts["c"])
    for shape in ("1.5B", "7B"):
        assert training[f"{shape} packed: speed"] > 0
        ways = [training[n] for n in training if n.startswith(shape) and n.endswith("last step")]
        assert len(ways) >= 2
        assert max(ways) - min(ways) < 1e-4  # every way computes the same
    assert training["1.5B padded: padding"] > training["1.5B packed: padding"] == 0
    assert engine["traces equal to the CPU's, float32"] == 8
    assert engine["equal traces of the two"] == 4
    assert engine["equal traces with and without barrier"] == 3
    assert {"engine, batch 4", "generate, batch 4"} <= set(engine)
    skipped = {each["name"]: each["why"] for each in parts["c"]["skipped"]}
    assert skipped == {"varlen_attn": "needs CUDA"}
    assert "| 1.5B packed: speed |" in page
    assert "skipped: varlen_attn: needs CUDA" in page


def test_a_part_that_takes_too_long_is_cut_off_alone(tmp_path: Path) -> None:
    done, parts, page = rehearse(
        tmp_path, "--parts", "a,d", "--limit-seconds", "a=0.2,d=0.2", "--only", "nothing"
    )
    assert done.returncode == 1
    assert [part["end"] for part in parts.values()] == ["cut off after 1 s"] * 2
    assert "cut off after 1 s" in page


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done, parts, _ = rehearse(tmp_path, "--parts", "a,x")
    assert done.returncode == 2
    assert parts == {}
    assert "there is no part x; parts are a, b, c, d" in done.stderr


@pytest.mark.slow
def test_sharded_training_in_small(tmp_path: Path) -> None:
    strategies = ["fsdp"]
    if importlib.util.find_spec("deepspeed"):
        strategies += ["deepspeed_zero3", "deepspeed_zero3_offload"]
    done, parts, _ = rehearse(tmp_path, "--parts", "b")
    assert done.returncode == 0, (parts, done.stderr[-2000:])
    found = named(parts["b"])
    for name in strategies:
        assert found[f"{name}: the second start went on from"] == 2
        assert found[f"{name}: losses differ after resuming by"] < 1e-6


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_in_small(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    done, parts, _ = rehearse(tmp_path, "--parts", "d")
    assert done.returncode == 0, (parts, done.stderr[-2000:])
    found = named(parts["d"])
    assert found["vLLM: traces equal alone and together"] == 2
    for way in ("", " --no-sessions"):
        assert f"sweep_once.py --engine vllm --prompts 4{way} --eager" in found
