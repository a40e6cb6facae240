"""The set-up for GPUs: its own lock and recipe, the same on a login node and in the image."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from s1x.compose import CONF, ROOT, register


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_a_login_node_without_a_gpu_gets_cudas_torch(tmp_path: Path) -> None:
    """`make setup-gpu` asks neither the driver nor the laptop's set-up."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        ["make", "-n", "setup-gpu", f"VENV={venv}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installs = [line for line in said.splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert re.search(r"--force-reinstall torch==[\d.]+ --index-url \S+/cu130$", installs[0])
    assert "requirements/gpu.txt" in installs[1]
    assert all("--no-deps" in line for line in installs), "nothing is resolved anew"
    assert "nvidia-smi" not in said
    assert "+cpu" not in said
    assert "torch.version.cuda" in said, "and it is looked at"


def test_the_lock_of_gpus_is_whole_and_agrees_with_the_project() -> None:
    gpu, core = locked("gpu"), locked("core")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for pin in project["optional-dependencies"]["gpu"]:
        name, sign, version = re.split("(==|>=)", pin)
        assert gpu[name] == version or sign == ">="
    assert set(core) <= set(gpu), "all that a run needs"
    for name in ("transformers", "lightning", "numpy", "omegaconf", "huggingface-hub"):
        assert gpu[name] == core[name]
    assert "torch" not in gpu, "that comes from the index of CUDA builds"
    assert {"triton", "nvidia-nccl-cu13", "nvidia-cudnn-cu13", "deepspeed", "vllm"} <= set(gpu)
    assert project["requires-python"] == ">=3.11", "vLLM wants it"
    assert "(3, 11)" in (ROOT / "Makefile").read_text()


def test_the_image_is_made_by_the_same_recipe() -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert "make setup-gpu" in image
    assert "pip install" not in image
    assert re.search(r"FROM python:3\.1[1-9]", image)


def test_a_sweeps_jobs_ask_slurm_for_a_whole_node() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["+experiment=s1k", "scale=h100x16", "hydra/launcher=h100_node"]
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.gpus_per_node, launcher.cpus_per_task) == (8, 64)
    assert launcher.timeout_min >= 240
    assert launcher.additional_parameters == {"mem": 0, "exclusive": True}


def test_nothing_starts_cuda_in_a_process_that_vllm_forks() -> None:
    """`is_available` asks NVML; the ranks of sharded training are counted without starting CUDA."""
    code = """
import os, s1x
assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
import torch
def refuse(*_): raise AssertionError("CUDA would be started")
torch._C._cuda_init = torch.cuda._lazy_init = refuse
from s1x.train.fsdp import Fsdp
assert Fsdp(device="cpu").ranks_per_node() == Fsdp().ranks_per_node() == 1
assert not torch.cuda.is_initialized()
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTORCH", "SLURM"))}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
