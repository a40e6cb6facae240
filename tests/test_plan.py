"""The plan: exact parameters, s1's published figures, and refusals that name the remedy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from s1x.config import CONF, conf_folders
from s1x.errors import UserError
from s1x.model.architecture import Architecture
from s1x.model.model import Model
from s1x.plan import Evaluation, Machine, Plan, Work, make_plan
from s1x.plan.gpus import GIB
from s1x.plan.memory import training_memory
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.deepspeed_zero3_offload import DeepspeedZero3Offload
from s1x.train.settings import Lora
from s1x.train.single_device import SingleDevice

MODEL_FILES = [path for conf in conf_folders() for path in conf.glob("model/*.yaml")]
S1K = Work(num_samples=1000, mean_tokens=4_900, longest_tokens=9_000)
SIXTEEN = {"devices_per_node": 8, "num_nodes": 2}


def model(name: str) -> Model:
    (path,) = (p for p in MODEL_FILES if p.stem == name)
    values = yaml.safe_load(path.read_text())
    values.pop("defaults")
    return Model(**values)


def plan_32b(machine: Machine | None = None, **changes: object) -> Plan:
    settings = DeepspeedZero3(**{**SIXTEEN, **changes})  # type: ignore[arg-type]
    return make_plan(settings, model("qwen2_5_32b_instruct"), S1K, machine=machine)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("qwen2_5_32b_instruct", 32_763_876_352),
        ("qwen2_5_7b_instruct", 7_615_616_512),
        ("qwen2_5_1_5b_instruct", 1_543_714_304),
        ("qwen2_5_0_5b_instruct", 494_032_768),
        ("smollm2_135m", 134_515_008),
    ],
)
def test_parameters_are_exact(name: str, parameters: int) -> None:
    assert Architecture.of(model(name).architecture).parameters == parameters


def test_parameters_agree_with_transformers() -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=431,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        real = sum(p.numel() for p in Qwen2ForCausalLM(config).parameters())
    assert Architecture.of_config(config).parameters == real


def test_s1s_run_fits_and_takes_its_26_minutes() -> None:
    plan = plan_32b()
    assert plan.problems == []
    assert plan.memory.weights * 16 == pytest.approx(2 * plan.parameters)
    assert plan.train_seconds == pytest.approx(26 * 60, rel=0.1)
    assert plan.gpu_hours == pytest.approx(7.0, rel=0.1)
    assert any("32.76B" in line for line in plan.table())


def test_the_whole_pool_is_in_proportion() -> None:
    settings = DeepspeedZero3(**SIXTEEN)  # type: ignore[arg-type]
    whole = make_plan(settings, model("qwen2_5_32b_instruct"), Work(58_986, 4_900, 9_000))
    assert whole.gpu_hours == pytest.approx(394, rel=0.15)  # published for 59K-full


@pytest.mark.parametrize(
    ("layers", "bucket", "measured_gib"),
    [
        (12, 20_000_000, 3.14),
        (12, 200_000_000, 4.44),
        (24, 20_000_000, 4.41),
        (24, 200_000_000, 6.44),
    ],
)
def test_memory_is_what_two_ranks_took(layers: int, bucket: int, measured_gib: float) -> None:
    """Peaks that benchmarks/sharded_memory.py measured; docs/performance.md has them."""
    shape = Architecture(1024, layers, 2816, 16, 4, 32_000)
    settings = DeepspeedZero3(devices_per_node=2, precision="float32", bucket_parameters=bucket)
    memory = training_memory(settings, shape, 2, 256, on_cpu=True)
    assert memory.total == pytest.approx(measured_gib * GIB, rel=0.15)


def test_one_node_is_refused_with_what_would_do() -> None:
    plan = plan_32b(num_nodes=1)
    assert plan.memory.total > plan.device.memory_bytes
    assert len(plan.problems) == 1
    for words in ("does not fit", "needs at least", "GPUs", "train=deepspeed_zero3_offload"):
        assert words in plan.problems[0]
    with pytest.raises(UserError, match="does not fit"):
        plan.refuse()
    settings = DeepspeedZero3Offload(devices_per_node=8)
    assert make_plan(settings, model("qwen2_5_32b_instruct"), S1K).problems == []


def test_more_tokens_more_activations_and_the_longest_that_fits() -> None:
    short, long = (
        make_plan(DeepspeedZero3(**SIXTEEN), model("qwen2_5_32b_instruct"), Work(1000, 4_900, n))  # type: ignore[arg-type]
        for n in (8_192, 32_768)
    )
    assert long.memory.activations == pytest.approx(4 * short.memory.activations, rel=0.01)
    assert plan_32b(logits="full").memory.logits > 15 * GIB
    assert plan_32b().memory.logits < 1 * GIB


def test_adapters_need_no_optimizer_to_speak_of() -> None:
    whole = make_plan(SingleDevice(max_sequence_tokens=4096), model("qwen2_5_7b_instruct"))
    part = make_plan(
        SingleDevice(max_sequence_tokens=4096, lora=Lora(rank=16)), model("qwen2_5_7b_instruct")
    )
    assert whole.problems
    assert not part.problems
    assert part.memory.optimizer < 0.01 * whole.memory.optimizer


def test_what_this_machine_lacks_is_said_with_the_remedy() -> None:
    bare = Machine(memory_bytes=24 * GIB, disk_free_bytes=70 * GIB, hub_reachable=False)
    problems = make_plan(
        DeepspeedZero3(**SIXTEEN),  # type: ignore[arg-type]
        model("qwen2_5_32b_instruct"),
        S1K,
        machine=bare,
        needed_modules=["a_module_that_is_not"],
        needed_keys=["A_KEY"],
    ).problems
    found = "\n".join(problems)
    for words in (
        "needs 8 GPUs on each of 2 nodes",
        "GiB of disk, 70 are free",
        "cannot be reached from here; set model.path",
        "pip install a_module_that_is_not",
        "export A_KEY=",
    ):
        assert words in found
    assert all("\n" not in problem for problem in problems)


def test_a_slurm_allocation_that_is_too_small_is_refused() -> None:
    def problems(nodes: str) -> list[str]:
        machine = Machine(in_slurm=True, environment={"SLURM_NNODES": nodes})
        return plan_32b(machine).problems

    assert any(
        "Slurm's allocation has 1; ask for --nodes=2" in problem for problem in problems("1")
    )
    assert not any("allocation" in problem for problem in problems("2"))


def test_the_papers_scale_fits_its_traces_and_its_disk(shared_data: Path) -> None:
    """`scale=h100x16` as it stands: s1K's longest trace, the memory for it, few checkpoints."""
    scale = yaml.safe_load((CONF / "scale" / "h100x16.yaml").read_text())
    settings = DeepspeedZero3(**scale["train"])
    figures = json.loads((shared_data / "figures.json").read_text())
    s1k, s11 = (
        [bin_ for bin_ in histogram["bins"] if bin_["count"]]
        for histogram in figures["s11_traces"]["histogram"]
    )
    room = settings.max_sequence_tokens - s1k[-1]["x1"]
    assert room > 4_000, "a question, an answer and the delimiters fit too"
    assert s11[-1]["x1"] > settings.max_sequence_tokens, "s1K-1.1 needs a longer limit: see docs"
    plan = make_plan(settings, model("qwen2_5_32b_instruct"), Work(1000, 4_900))
    assert plan.memory.total < 0.85 * plan.device.memory_bytes
    num_steps = 5 * -(-1000 // settings.batch_sequences)
    assert 1 <= (num_steps - 1) // settings.checkpoint_every_steps <= 2
    longer = dataclasses.replace(settings, max_sequence_tokens=28_672)
    assert make_plan(longer, model("qwen2_5_32b_instruct"), Work(1000, 9_500)).problems == []


def test_a_machine_that_has_all_has_no_problems() -> None:
    good = Machine(
        gpu_memory_bytes=(80 * GIB,) * 8,
        memory_bytes=2048 * GIB,
        hub_reachable=True,
        disk_free_bytes=2048 * GIB,
    )
    settings = DeepspeedZero3(**SIXTEEN)  # type: ignore[arg-type]
    plan = make_plan(settings, model("qwen2_5_32b_instruct"), S1K, machine=good)
    assert [p for p in plan.problems if "not installed" not in p] == []


def test_laptop_needs_no_gpu_and_little_memory() -> None:
    settings = SingleDevice(max_sequence_tokens=512, precision="float32", device="cpu")
    plan = make_plan(settings, model("puzzle_base"), Work(1000, 120.0, 300), machine=Machine.here())
    assert plan.problems == []
    assert plan.memory.total < 2 * GIB
    assert 5 < plan.train_seconds < 120
    assert plan.gpu_hours is None


def test_evaluation_costs_its_longest_point() -> None:
    evaluations = [
        Evaluation("aime24", 30, thinking_tokens=8000, num_points=9, num_models=2),
        Evaluation("mine", None),
    ]
    plan = make_plan(DeepspeedZero3(**SIXTEEN), model("qwen2_5_32b_instruct"), S1K, evaluations)  # type: ignore[arg-type]
    (known, seconds), (unknown, no_seconds) = plan.evaluations
    assert known.generated_tokens == 60 * (8000 + 9 * 500)
    assert seconds is not None
    assert seconds > 0
    assert unknown.generated_tokens is None
    assert no_seconds is None


def test_a_model_without_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.architecture of bare lacks hidden_size"):
        make_plan(SingleDevice(), Model(name="bare", path="/nowhere"))
