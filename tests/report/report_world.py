"""Writes run folders as the stages leave them, from a made-up model whose answers are known."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
CURVE: tuple[tuple[str, int | None, int], ...] = (
    ("max 8", 8, 0),
    ("max 16", 16, 0),
    ("max 32", 32, 0),
    ("natural", None, 0),
    ("Wait x 1", None, 1),
    ("Wait x 2", None, 2),
)
WORDS = ("try", "x", ">", "no", "near", "yes", "=", "mod", "so", "check")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the made-up world; `skill` moves every accuracy."""

    name: str = "puzzles_hard"
    num_problems: int = 40
    in_domain: bool | None = True
    domains: tuple[str, ...] = ("congruence", "coins")
    skill: float = 0.0
    question: str = "solve {a} x + 3 = 7 mod 19"
    samples: int = 1
    hostile: bool = False
    notes: tuple[str, ...] = ("This is no evidence about large models.", "Hard ones are longer.")


@dataclass(frozen=True)
class Made:
    """Folders of one made-up run."""

    evaluations: list[Path]
    selection: Path
    training: Path
    tokenizer: Path
    extra: dict[str, Any] = field(default_factory=dict)


def tokenizer(folder: Path) -> Path:
    """A word-level tokenizer over the world's words, saved as tokenizer.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*WORDS, "Wait", "<|think|>", "<|answer|>", "Final", "Answer:", "[UNK]"]
    words += [str(n) for n in range(1000)]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def evaluation(
    folder: Path,
    benchmark: Benchmark,
    role: str = "fine_tuned",
    prompt_format: str = "thinking",
    curve: tuple[tuple[str, int | None, int], ...] = CURVE,
    skill: float = 0.0,
    seed: int = 0,
    policy: str = "budget_forcing",
    settings: dict[str, Any] | None = None,
) -> Path:
    """An evaluation folder: rows.parquet, evaluation.json, costs.json."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer

    from s1x.rows import schema

    vocabulary = Tokenizer.from_file(str(tokenizer(folder.parent / "tokenizer") / "tokenizer.json"))
    points = [("direct answer", None, 0)] if prompt_format == "direct" else list(curve)
    rows = []
    for index in range(benchmark.num_problems):
        for sample in range(benchmark.samples):
            ease = random.Random(f"{benchmark.name}-{index}").random()
            chance = random.Random(f"{seed}-{role}-{benchmark.name}-{index}-{sample}")
            natural = 20 + int(60 * (1 - ease) + 20 * chance.random())
            for point, (label, limit, waits) in enumerate(points):
                length = min(natural, limit or natural) + 14 * waits
                power = 0.25 * (length / natural) + 0.22 * min(waits, 2) + 0.15
                power += benchmark.skill + skill + 0.3 * ease - 0.15
                if role == "base":
                    power = 0.02 if prompt_format == "thinking" else 0.12
                right = (
                    power
                    > chance.random() * 0.2 + random.Random(f"{index}-{sample}").random() * 0.8
                )
                words = random.Random(f"{seed}-{role}-{index}-{sample}-words")
                text = _words(words, natural, waits, limit)
                text = [] if prompt_format == "direct" else text
                rows.append(
                    _row(
                        benchmark,
                        vocabulary,
                        index,
                        sample,
                        point,
                        label,
                        text,
                        right,
                        limit,
                        waits,
                    )
                    | {"model": "puzzle_base" if role == "base" else "puzzle_base-s1k"}
                    | {"model_role": role, "prompt_format": prompt_format, "policy": policy}
                )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema()), folder / "rows.parquet")
    info = {
        "benchmark": benchmark.name,
        "model": rows[0]["model"],
        "model_role": role,
        "prompt_format": prompt_format,
        "policy": policy,
        "policy_settings": settings or {},
        "points": [
            {
                "point": i,
                "label": label,
                "settings": {"max_thinking_tokens": limit, "num_waits": waits, **(settings or {})},
            }
            for i, (label, limit, waits) in enumerate(points)
        ],
        "num_problems": benchmark.num_problems,
        "samples_per_problem": benchmark.samples,
        "sampling": {"temperature": 0.0 if benchmark.samples == 1 else 1.0, "top_p": 1.0},
        "engine": {"engine": "transformers", "device": "cpu", "dtype": "float32"},
        "seed": seed,
        "wall_seconds": 12.5,
        "generated_tokens": 1000,
        "stored_tokens": 4000,
        "prompt_tokens": 900,
        "benchmark_info": {
            "domain_names": list(benchmark.domains),
            "source": "made up",
            "in_domain": benchmark.in_domain,
            "answer_format": "a number",
            "notes": list(benchmark.notes),
        },
        "model_notes": ["A rehearsal, not the 32B result."] if benchmark.notes else [],
        "model_fingerprint": f"{role}-{skill}",
        "warnings": [],
    }
    _json(folder / "evaluation.json", info)
    _json(folder / "costs.json", [cost("evaluate", f"{benchmark.name} {role}", generated=1000)])
    return folder


def _words(chance: random.Random, natural: int, waits: int, limit: int | None) -> list[str]:
    words = [
        chance.choice(WORDS[:6]) if i % 2 else str(chance.randrange(200)) for i in range(natural)
    ]
    words = words[: limit or natural]
    for _ in range(waits):
        words += ["Wait", *(chance.choice(WORDS) for _ in range(13))]
    return words


_FACTS = ("index", "parent", "thinking_tokens", "fork_tokens", "step_ends", "scores")
_FACTS += ("answer", "weight", "fate")
#: a search of three traces, one of which was forked
TREE = [
    dict(zip(_FACTS, values, strict=True))
    for values in (
        (0, None, 30, 0, [10, 30], [0.25, 0.5], "<img src=x>", 0.5, "finished"),
        (1, None, 20, 0, [8, 20], [0.125], None, None, "dropped"),
        (2, 0, 40, 10, [10, 25, 40], [0.25, 0.75, 1.0], "7", 0.75, "chosen"),
    )
]


def _row(
    benchmark: Benchmark,
    vocabulary: Any,
    index: int,
    sample: int,
    point: int,
    label: str,
    thinking: list[str],
    right: bool,
    limit: int | None,
    waits: int,
) -> dict[str, Any]:
    cut = limit is not None and len(thinking) >= limit
    answer = str(index) if right else str(index + 1)
    delimiters = ["<|answer|>", *(["Final", "Answer:"] if cut else [])]
    words = [*thinking, *delimiters, answer]
    forced = [w == "Wait" for w in thinking] + [True] * len(delimiters) + [False]
    ids = [vocabulary.token_to_id(w) for w in words]
    question = benchmark.question.format(a=index)
    return {
        "benchmark": benchmark.name,
        "problem_id": f"p{index:04d}",
        "domain": benchmark.domains[index % len(benchmark.domains)],
        "level": "hard",
        "point": point,
        "setting": label,
        "sample": sample,
        "question": question + (HOSTILE if benchmark.hostile else ""),
        "reference_answer": str(index),
        "prompt_tokens": 12,
        "token_ids": ids,
        "forced_mask": forced,
        "thinking_tokens": len(thinking),
        "answer_tokens": 1,
        "forced_tokens": sum(forced),
        "thinking_text": " ".join(thinking) + (HOSTILE if benchmark.hostile else ""),
        "answer_text": ("Final Answer: " if cut else "") + answer,
        "end_reason": ("loop" if index == 1 else "cut") if cut else "natural",
        "spill": ["wait"] if cut and index % 4 == 0 else [],
        "looped": index == 1,
        "first_token_seconds": 0.25,
        "thinking_seconds": len(thinking) / 100,
        "num_waits": waits,
        "num_tries": 1,
        "interim_token_counts": [],
        "interim_answers": [],
        "interim_verdicts": [],
        "extracted_answer": answer,
        "extraction_rule": "Final Answer:" if cut else "last number",
        "verdict": "correct" if right else "wrong",
        "ungraded_reason": None,
        "search_tree": json.dumps(TREE) if waits else None,
        "wall_seconds": len(thinking) / 100 + 0.5,
    }


def selection(folder: Path, name: str = "s1k", tokens: int = 61_000, hard: float = 0.56) -> Path:
    """A select folder: funnel.json and costs.json."""
    steps = [
        ("quality", 59_000, 38_120, {"duplicate": 8_910, "no trace": 6_230, "malformed": 5_740}),
        ("difficulty", 38_120, 9_870, {"puzzle_base solves it": 28_250}),
        ("diversity", 9_870, 1_000, {"not drawn": 8_870}),
    ]
    funnel = {
        "steps": [
            {"step": s, "rows_in": a, "rows_out": b, "reasons": r, "wall_seconds": 1.25}
            for s, a, b, r in steps
        ],
        "recipe": name,
        "rows_pool": 59_000,
        "rows_chosen": 1_000,
        "trace_tokens_chosen": tokens,
        "share_hard": hard,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "funnel.json", funnel)
    _json(folder / "costs.json", [cost("select", name, seconds=9.0)])
    return folder


def training(folder: Path) -> Path:
    """A train folder: train.json, log.csv, costs.json and a model folder of one small file."""
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    lines = ["step,loss,learning_rate,epoch"]
    lines += [f"{i},{2.0 / i:.4f},{1e-3 / i:.6f},{i // 10}" for i in range(1, 31)]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    _json(folder / "train.json", {"steps": 315, "tokens": 305_000, "final_loss": 0.117})
    _json(folder / "costs.json", [cost("train", "SFT", seconds=61.0, trained=305_000)])
    return folder


def cost(
    stage: str,
    item: str,
    seconds: float = 30.0,
    generated: int | None = None,
    trained: int | None = None,
) -> dict[str, Any]:
    """One entry of a costs.json."""
    return {
        "stage": stage,
        "item": item,
        "model_calls": None,
        "prompt_tokens": None,
        "generated_tokens": generated,
        "trained_tokens": trained,
        "wall_seconds": seconds,
        "device": "cpu",
        "num_devices": 1,
        "gpu_hours": None,
        "energy_kwh": None,
        "usd": None,
    }


def run(
    folder: Path, benchmarks: list[Benchmark] | None = None, skill: float = 0.0, seed: int = 0
) -> Made:
    """All folders of a run: fine-tuned, base and base answering directly on each benchmark."""
    chosen = benchmarks or [Benchmark()]
    made = []
    for b in chosen:
        tuned = evaluation(folder / f"{b.name}-tuned", b, skill=skill, seed=seed)
        base = evaluation(folder / f"{b.name}-base", b, "base", seed=seed)
        direct = evaluation(folder / f"{b.name}-direct", b, "base", "direct", seed=seed)
        made += [tuned, base, direct]
    return Made(
        made,
        selection(folder / "select"),
        training(folder / "train"),
        folder / "tokenizer",
    )


def context(made: Made, **more: Any) -> dict[str, Any]:
    """What the front end gives the report."""
    return {
        "name": "s1k",
        "scale": "laptop",
        "seed": 0,
        "command": "python run.py +experiment=s1k",
        "stages": [
            *_stage("select", "s1k", "0123456789ab", 9.0, False),
            *_stage("train", "single_device", "123456789abc", 61.0, False),
            *_stage("evaluate", "puzzles_hard", "23456789abcd", 0.0, True),
        ],
        "tokenizers": dict.fromkeys(("puzzle_base", "puzzle_base-s1k"), str(made.tokenizer)),
        **more,
    }


def _stage(
    stage: str, label: str, fingerprint: str, seconds: float, reused: bool
) -> list[dict[str, Any]]:
    values = {"stage": stage, "label": label, "fingerprint": fingerprint}
    return [{**values, "wall_seconds": seconds, "reused": reused}]


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
