"""Everything that only a GPU can tell, in one call of at most nine minutes on one card.

    python benchmarks/gpu/kit.py                     # all parts; writes gpu.json and gpu.md
    python benchmarks/gpu/kit.py --parts a,c --limit-seconds a=240,c=240
    python benchmarks/gpu/kit.py --tiny              # the same paths on the CPU, in small

Each part is a process of its own with its own time limit: a crash or a hang costs that part alone,
and the figures it had are kept. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: script, title and seconds of each part; d begins with what the others left
PARTS = {
    "a": ("sft_part.py", "Fine-tuning on one device", 200.0),
    "b": ("sharded_part.py", "FSDP2 and ZeRO-3 on one rank", 110.0),
    "c": ("engine_part.py", "engine=transformers", 190.0),
    "d": ("vllm_part.py", "engine=vllm", 200.0),
}
LIBRARIES = ("torch", "transformers", "lightning", "deepspeed", "vllm", "trl", "flash-attn")
CARD = (
    "import json, torch; ok = torch.cuda.is_available(); "
    "p = torch.cuda.get_device_properties(0) if ok else None; "
    "print(json.dumps({'card': p.name if ok else 'none (CPU)', 'cuda': torch.version.cuda, "
    "'memory_gib': round(p.total_memory / 2**30, 1) if ok else None}))"
)


def versions() -> dict[str, str | None]:
    """Installed versions of the libraries that matter; None: not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def environment() -> dict[str, str]:
    """Variables of a part: the modules it imports, and no network."""
    paths = [str(HERE.parents[1]), str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def card() -> dict[str, object]:
    """Name and memory of the card; asked in a process of its own, so that none stays open."""
    asked = subprocess.run(
        [sys.executable, "-c", CARD], capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, object] = json.loads(asked.stdout.strip().splitlines()[-1])
    return found


def run_part(
    part: str, seconds: float, options: argparse.Namespace, out: Path
) -> dict[str, object]:
    """Runs a part to its end or its limit, and returns what it wrote."""
    script, title, _ = PARTS[part]
    command = [sys.executable, str(HERE / script), "--out", str(out)]
    command += ["--seconds", str(0.95 * seconds), "--only", options.only]
    command += ["--tiny"] if options.tiny else []
    begun, end = time.monotonic(), "done"
    process = subprocess.Popen(command, env=environment(), start_new_session=True)
    try:
        if code := process.wait(timeout=seconds):
            end = f"ended with exit status {code}"
    except subprocess.TimeoutExpired:
        end = f"cut off after {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # ranks and engines it started, too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    empty: dict[str, object] = {"figures": [], "skipped": [], "failed": []}
    written = json.loads(out.read_text(encoding="utf-8")) if out.exists() else empty
    return {"title": title, "end": end, "seconds": round(time.monotonic() - begun, 1), **written}


def page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    about, libraries = report["card"], report["versions"]
    lines = ["# Figures of one GPU" if not report["tiny"] else "# Rehearsal on the CPU", ""]
    lines += [f"Card: {about['card']}, {about['memory_gib']} GiB, CUDA {about['cuda']}. "]
    lines += [", ".join(f"{name} {version or '-'}" for name, version in libraries.items()), ""]
    for name, part in report["parts"].items():
        lines += [f"## {name}. {part['title']}", "", f"{part['end']}, {part['seconds']} s", ""]
        if part["figures"]:
            lines += ["| what | figure | unit | bar | beside it |", "|---|---:|---|---:|---|"]
        for figure in part["figures"]:
            notes = {k: v for k, v in figure.items() if k not in ("name", "value", "unit", "bar")}
            beside = ", ".join(f"{key} {value}" for key, value in notes.items())
            bar, value = figure.get("bar", ""), figure["value"]
            lines.append(f"| {figure['name']} | {value} | {figure['unit']} | {bar} | {beside} |")
        for word in ("skipped", "failed"):
            lines += ["", *(f"* {word}: {each['name']}: {each['why']}" for each in part[word])]
        lines.append("")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """The options of the kit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="a,b,c,d", help="letters by commas")
    parser.add_argument("--limit-seconds", default="", help="of parts, as a=240,c=100")
    parser.add_argument("--total-seconds", type=float, default=530.0, help="of all together")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the CPU")
    parser.add_argument("--only", default="", help="measurements whose name has one of the words")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="and the page beside it")
    return parser


def main() -> int:
    """Runs the parts; 1: one of them failed or was cut off."""
    parser = arguments()
    options = parser.parse_args()
    parts = options.parts.split(",")
    slower = 10.0 if options.tiny else 1.0  # a busy CPU
    try:
        limits = {name: slower * spec[2] for name, spec in PARTS.items()}
        given = [pair.split("=") for pair in options.limit_seconds.split(",") if pair]
        limits |= {name: float(seconds) for name, seconds in given}
        unknown = [name for name in (*parts, *limits) if name not in PARTS]
    except ValueError:
        parser.error(f"--limit-seconds {options.limit_seconds}: give it as a=240,c=100")
    if unknown:
        parser.error(f"there is no part {unknown[0]}; parts are {', '.join(PARTS)}")
    end = time.monotonic() + slower * options.total_seconds
    about = card()
    if about["memory_gib"] is None and not options.tiny:
        parser.error("torch sees no GPU here; --tiny rehearses on the CPU")
    done: dict[str, dict[str, object]] = {}
    report = {"tiny": options.tiny, "card": about, "versions": versions(), "parts": done}
    with tempfile.TemporaryDirectory() as folder:
        for name in parts:
            print(f"part {name}: {PARTS[name][1]}", flush=True)
            seconds = max(1.0, min(limits[name], end - time.monotonic()))
            done[name] = run_part(name, seconds, options, Path(folder) / f"{name}.json")
            options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
            options.out.with_suffix(".md").write_text(page(report), encoding="utf-8")
    print(f"{options.out} and {options.out.with_suffix('.md')} are written", flush=True)
    return int(any(part["failed"] or part["end"] != "done" for part in done.values()))


if __name__ == "__main__":
    sys.exit(main())
