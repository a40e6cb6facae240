"""Part a: supervised fine-tuning of random models in published shapes on one device.

    python benchmarks/gpu/kit.py --parts a

Our rank's own trainer (module, passes, strategy, log) runs; only loading and the export are left
out, since the weights are random. The first step warms up and does not count.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sft
import torch
from figures import Figures, figures_of, free_memory, part_arguments
from shapes import (
    PUBLISHED,
    TINY,
    RandomPlacement,
    random_samples,
    s1k_lengths,
    write_config,
    write_weights,
)
from transformers.utils import import_utils

from s1x.model.architecture import Architecture
from s1x.model.load import load_tokenizer
from s1x.plan.memory import training_memory
from s1x.train.batches import plan_steps
from s1x.train.job import LOG_CSV, Job, read_log
from s1x.train.rank.memory import watch_memory
from s1x.train.rank.module import SftModule
from s1x.train.rank.passes import Passes
from s1x.train.rank.worker import build_trainer
from s1x.train.single_device import SingleDevice

#: share of the card's memory that the plan may fill; else the model gets fewer layers
FILLED = 0.93
BAR_MFU, BAR_TRL_S1, BAR_TRL_BEST = 0.5, 1.3, 1.0


class Training:
    """Runs of one shape; `layers` are those of the published ones that the card holds."""

    def __init__(self, figures: Figures, name: str, options: Namespace) -> None:
        self.figures, self.name, self.tiny = figures, name, options.tiny
        self.divisor = 64 if self.tiny else 1
        tokens = 8192 // self.divisor
        self.settings = SingleDevice(
            device="cpu" if self.tiny else "cuda",
            epochs=1,
            max_steps=2 if self.tiny else 4,
            batch_sequences=4 if self.tiny else 8,
            max_sequence_tokens=tokens,
            micro_batch_tokens=tokens if name == "7B" else 2 * tokens,
            precision="float32" if self.tiny else "bfloat16",
            checkpoint_every_steps=0,
        )
        self.shape = TINY if self.tiny else PUBLISHED[name]
        if not self.tiny:
            whole = self.shape.num_hidden_layers
            self.shape = self._that_fits(self.shape)
            kept = self.shape.num_hidden_layers
            figures.add(f"{name}: layers trained", kept, f"of {whole} layers")

    def _that_fits(self, shape: Architecture) -> Architecture:
        memory = torch.cuda.get_device_properties(0).total_memory
        while self._plan(shape, self.settings) > FILLED * memory and shape.num_hidden_layers > 1:
            shape = replace(shape, num_hidden_layers=shape.num_hidden_layers - 1)
        return shape

    def _plan(self, shape: Architecture, settings: SingleDevice) -> float:
        tokens = settings.pass_tokens
        return training_memory(settings, shape, 1, tokens, on_cpu=self.tiny).total

    def run(self, way: str, **changes: object) -> None:
        """Trains a few steps with the settings changed so, and notes what they cost."""
        settings = replace(self.settings, **changes)
        if not self.tiny:
            memory = torch.cuda.get_device_properties(0).total_memory
            if (filled := self._plan(self.shape, settings)) > memory:
                wants = f"would take {filled / 2**30:.0f} of {memory / 2**30:.0f} GiB"
                self.figures.skip(f"{self.name} {way}", wants)
                return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = write_config(folder / "model", self.shape)
            job = Job(settings, model, folder / "rows.parquet", 0, folder, 1)
            count = settings.batch_sequences * (settings.max_steps or 1)
            samples = random_samples(s1k_lengths(count, self.divisor))
            steps = plan_steps(samples.lengths, settings, job.seed, 1)
            pad_id = load_tokenizer(model).pad_token_id if settings.padded else None
            passes = Passes(samples, steps[: settings.max_steps], 0, 0, pad_id)
            module = SftModule(RandomPlacement(job), passes)
            build_trainer(module, 0).fit(module, passes)
            log = read_log(folder / LOG_CSV)
        self._note(f"{self.name} {way}", log[1:], settings)

    def _note(self, name: str, log: list[dict[str, str]], settings: SingleDevice) -> None:
        seconds = sum(float(row["step_seconds"]) for row in log)
        tokens = sum(int(row["tokens"]) for row in log)
        self.figures.add(f"{name}: speed", tokens / seconds, "tokens/s", tokens=tokens)
        if log[0]["mfu"]:
            mfu = sum(float(row["mfu"]) * float(row["step_seconds"]) for row in log) / seconds
            self.figures.add(f"{name}: MFU", mfu, "of dense bfloat16 peak", bar=BAR_MFU)
        peak = max(float(row["peak_memory_gib"]) for row in log)
        plan = self._plan(self.shape, settings) / 2**30
        self.figures.add(f"{name}: peak memory", peak, "GiB", plan=round(plan, 2))
        self.figures.add(f"{name}: padding", float(log[0]["padding_share"]), "of positions")
        self.figures.add(f"{name}: loss of the last step", float(log[-1]["loss"]), "nats/token")


def ways(attentions: bool) -> dict[str, dict[str, object]]:
    """Settings by the name they are told under, the plain ones first."""
    found: dict[str, dict[str, object]] = {"packed": {}}
    if not attentions:
        found |= {
            f"sparing {what}": {"recompute_spares": what} for what in ("attention", "products")
        }
        found["compiled"] = {"compiled": True}
        found["compiled, sparing attention"] = {"compiled": True, "recompute_spares": "attention"}
        return found | {"without activation checkpointing": {"activation_checkpointing": False}}
    found["padded"] = {"batching": "padded"}
    found["without activation checkpointing, half a pass"] = {
        "activation_checkpointing": False,
        "micro_batch_tokens": None,
    }
    found |= {f"logits {way}": {"logits": way} for way in ("full", "chunked", "torch")}
    found |= {f"attention {way}": {"attention": way} for way in ("packed", "sdpa")}
    found["attention flash_attention_2"] = {"attention": "flash_attention_2"}
    return found


def against_trl(figures: Figures, options: Namespace) -> None:
    """TRL's trainer in turns with ours on the same rows (`benchmarks/sft.py`)."""
    shape, tokens = (TINY, 128) if options.tiny else (PUBLISHED["1.5B"], 8192)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_config(folder / "base", shape)
        write_weights(model, "float32", "cpu" if options.tiny else "cuda")
        lengths = s1k_lengths(16, 64 if options.tiny else 1)
        rows = [{"question": "1", "reasoning_trace": "1 " * n, "attempt": "1"} for n in lengths]
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
        given = Namespace(tokens=tokens, model=model.path, gpu=not options.tiny, recompute=True)
        rates: dict[str, float] = {}
        for way in sft.WAYS:
            found = sft.ours(given, folder) if way == "ours" else sft.trl(given, folder, way)
            rates[way] = found["tokens"] / found["wall"]
            figures.add(f"1.5B against TRL: {way}", rates[way], "tokens/s")
            free_memory()
    figures.add("ours / TRL as s1 has it", rates["ours"] / rates["trl_s1"], "times", bar=BAR_TRL_S1)
    best = max(rate for way, rate in rates.items() if way != "ours")
    figures.add("ours / TRL at its best", rates["ours"] / best, "times", bar=BAR_TRL_BEST)


def main() -> None:
    """Measures."""
    options = part_arguments(__doc__.splitlines()[0]).parse_args()
    figures = figures_of(options)
    watch_memory()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for shape, all_ways, seconds in (("7B", False, 30.0), ("1.5B", True, 15.0)):
        training = Training(figures, shape, options)
        for way, changes in ways(all_ways).items():
            name = f"{shape} {way}"
            if "flash" in way and not import_utils.is_flash_attn_2_available():
                figures.skip(name, "flash-attn is not installed")
                continue
            need = 0.0 if options.tiny else seconds
            figures.attempt(name, lambda t=training, w=way, c=changes: t.run(w, **c), need)
    if importlib.util.find_spec("trl") is None:
        figures.skip("against TRL", "trl is not installed")
    else:
        need = 0.0 if options.tiny else 60.0
        figures.attempt("against TRL", lambda: against_trl(figures, options), need)


if __name__ == "__main__":
    main()
