"""The wheel, installed into a fresh environment and used in another folder than the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from s1x.compose import CONF, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clean copy of what git tracks."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if files.returncode:
        pytest.skip("a wheel is built from a clone")
    for name in files.stdout.strip("\0").split("\0"):
        place, source = folder / "clone" / name, ROOT / name
        if source.exists() or source.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                place.symlink_to(os.readlink(source))
            else:
                place.write_bytes(source.read_bytes())
    command = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run([sys.executable, "-m", *command], cwd=folder / "clone", check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def s1x(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `s1x` in an environment that has this one's libraries, but not this clone."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / name / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = ["pip", "--python", str(folder), "install", "-q", "--no-deps", "--force-reinstall"]
    subprocess.run([sys.executable, "-m", *command, str(wheel)], check=True)
    return folder / "bin" / "s1x"


def call(s1x: Path, cwd: Path, *words: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [s1x, *words], cwd=cwd, env=clean, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_holds_every_option_and_the_embedded_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    options = {f"s1x/conf/{p.relative_to(CONF)}" for p in CONF.glob("*/*.yaml")}
    assert {"s1x/conf/config.yaml", "s1x/conf/sweep/thinking_budget.yaml"} <= names
    assert options <= names
    assert any(name.endswith("model.safetensors") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)
    assert not any(name.startswith(("tests/", "conf/", "outputs/")) for name in names)


def test_an_installed_s1x_composes_plans_and_explains_itself(s1x: Path, tmp_path: Path) -> None:
    assert call(s1x, tmp_path, "--version") == "s1x 0.1.0\n"
    assert "budget_forcing" in call(s1x, tmp_path, "--help")
    assert "_target_: s1x_puzzles." in call(s1x, tmp_path, "+experiment=s1k", "--cfg", "job")
    told = call(s1x, tmp_path, "+experiment=s1k", "stages=[plan]")
    assert "evaluate" in told
    assert not (ROOT / "outputs" / "runs" / tmp_path.name).exists()
    assert (tmp_path / "outputs").is_dir()


@pytest.mark.slow
def test_an_installed_s1x_runs_the_main_job(s1x: Path, tmp_path: Path) -> None:
    call(s1x, tmp_path, "+experiment=s1k", "scale=quick")
    summary = json.loads((tmp_path / "outputs/latest/summary.json").read_text(encoding="utf-8"))
    assert summary["scale"] == "quick"
    assert summary["curves"]
