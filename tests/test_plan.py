"""The plan: exact parameters, s1's published figures, and refusals that name the remedy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from s1x.compose import CONF, conf_folders, register
from s1x.config import load
from s1x.engine.vllm import Vllm
from s1x.errors import UserError
from s1x.gpus import GIB, GPUS
from s1x.model.architecture import Architecture
from s1x.model.model import Model
from s1x.plan import Deployment, Evaluation, Machine, Plan, Work, make_plan, plan_run
from s1x.plan.memory import training_memory
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.deepspeed_zero3_offload import DeepspeedZero3Offload
from s1x.train.fsdp import Fsdp
from s1x.train.settings import Lora
from s1x.train.single_device import SingleDevice

MODEL_FILES = [path for conf in conf_folders() for path in conf.glob("model/*.yaml")]
S1K = Work(num_samples=1000, mean_tokens=4_900, longest_tokens=9_000)
SIXTEEN = {"devices_per_node": 8, "num_nodes": 2}


register()


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


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
        ("s1_1_14b", 14_770_033_664),
        ("r1_distill_qwen_1_5b", 1_777_088_000),
        ("r1_distill_llama_8b", 8_030_261_248),
        ("qwq_32b", 32_763_876_352),
        ("qwen3_0_6b", 596_049_920),
        ("qwen3_1_7b", 1_720_574_976),
        ("qwen3_4b", 4_022_468_096),
        ("qwen3_8b", 8_190_735_360),
        ("qwen3_14b", 14_768_307_200),
        ("qwen3_32b", 32_762_123_264),
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


def test_what_recomputing_spares_is_counted() -> None:
    """32B, a token: 64 layers keep 10,240 bytes; attention's result as much and 40 sums more."""
    shape = Architecture.of(model("qwen2_5_32b_instruct").architecture)
    found = {}
    for spares in ("nothing", "attention", "products"):
        settings = DeepspeedZero3(**SIXTEEN, recompute_spares=spares)  # type: ignore[arg-type]
        found[spares] = training_memory(settings, shape, 16, 5_000, on_cpu=False).activations
    assert found["attention"] - found["nothing"] == 64 * 5_000 * (10_240 + 160)
    products = 2 * (5_120 + 2 * 1_024 + 2 * 27_648 + 2 * 5_120)
    assert found["products"] - found["attention"] == 64 * 5_000 * products


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
    ).problems
    found = "\n".join(problems)
    for words in (
        "training on each of 2 nodes needs 8 H100 GPUs and this machine has 0",
        "915.4 GiB of disk, 70.0 GiB are free",
    ):
        assert words in found
    assert all("\n" not in problem for problem in problems)


def test_a_slurm_allocation_that_is_too_small_is_refused() -> None:
    def problems(nodes: str) -> list[str]:
        gpus = (80 * GIB,) * 8
        machine = Machine(gpus, in_slurm=True, environment={"SLURM_NNODES": nodes})
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
    assert plan.num_checkpoints == 0, "seven minutes of writing would not pay in a run of 26"
    assert plan.disk_bytes == pytest.approx(plan.checkpoint_bytes + 2 * plan.parameters)
    long = make_plan(settings, model("qwen2_5_32b_instruct"), Work(59_000, 4_900))
    assert 40 < long.num_checkpoints < 60, "every 30 minutes"
    assert any("checkpoints           0, 4 min each" in line for line in plan.table())
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


def test_an_old_driver_and_a_missing_compiler_are_known_before_training() -> None:
    old = Machine(**NODE, driver="570.86.15")  # type: ignore[arg-type]
    for stages in (("train",), ("evaluate",)):
        found = problems_of(old, "scale=h100x8", stages=stages)
        assert "driver here is 570.86.15, and builds for CUDA 13 need 580" in found
    for driver in ("580.95.05", "610.1", ""):
        new = Machine(**NODE, driver=driver)  # type: ignore[arg-type]
        assert "driver" not in problems_of(new, "scale=h100x8", stages=("train",))
    bare = Machine(**NODE, can_compile=False)  # type: ignore[arg-type]
    assert "install gcc and python3-dev" in problems_of(bare, "scale=h100x8", stages=("evaluate",))
    assert "gcc" not in problems_of(bare, "scale=h100x8", stages=("train",))


def test_what_the_driver_says_of_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '81559, 580.95.05\\n81559, 580.95.05\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    here = Machine.here(tmp_path)
    assert here.driver == "580.95.05"
    assert here.gpu_memory_bytes == (81559 * 2.0**20,) * 2


def test_laptop_needs_no_gpu_and_little_memory() -> None:
    settings = SingleDevice(max_sequence_tokens=512, precision="float32", device="cpu")
    plan = make_plan(settings, model("puzzle_base"), Work(1000, 120.0, 300), machine=Machine.here())
    assert plan.problems == []
    assert plan.memory.total < 2 * GIB
    assert 5 < plan.train_seconds < 120
    assert plan.gpu_hours is None


def test_evaluation_costs_its_longest_point() -> None:
    evaluations = [
        Evaluation("aime24", 30, thinking_tokens=8000, num_points=9, num_models=2, direct=True),
        Evaluation("mine", None),
    ]
    plan = make_plan(
        DeepspeedZero3(**SIXTEEN),  # type: ignore[arg-type]
        model("qwen2_5_32b_instruct"),
        S1K,
        evaluations,
        deployment=Deployment(tensor_parallel=8),
    )
    (known, seconds), (unknown, no_seconds) = plan.evaluations
    assert known.generated_tokens == 60 * (8000 + 9 * 500) + 30 * 500
    assert seconds is not None
    assert seconds > 0
    assert unknown.generated_tokens is None
    assert no_seconds is None
    assert any("on 1 x 8 H100, 2 engine starts included" in line for line in plan.table())


def test_generation_counts_all_devices_and_what_is_in_flight() -> None:
    """MATH500 by a 32B on 8 H100: about half an hour, not half a day."""
    shape = Architecture.of(model("qwen2_5_32b_instruct").architecture)
    math500 = Evaluation("math500", 500, thinking_tokens=4096, num_points=11, num_models=2)
    h100 = GPUS["H100"]

    def minutes(**changes: int) -> float:
        seconds = Deployment(**{"tensor_parallel": 8, **changes}).seconds(math500, shape, h100)
        assert seconds is not None
        return seconds / 60

    assert 10 < minutes() < 60
    assert minutes(in_flight=16) > 3 * minutes()
    assert minutes(tensor_parallel=2, replicas=4) < minutes(tensor_parallel=2)
    # 32.8e9 weights of 2 bytes over 8 x 3.35 TB/s at half of it: 4.9 ms a token of one sequence
    alone = Deployment(tensor_parallel=8).step_seconds(shape, h100, 1, 0)
    assert alone == pytest.approx(4.9e-3, rel=0.01)


@pytest.mark.parametrize(
    ("overrides", "machine", "copies", "words"),
    [
        ((), {}, 2, "1 with 2 copies of 4 GPUs in one node, made by engine.data_parallel_size=2"),
        (("workers=ray",), {}, 4, "4 of 4 GPUs, made by workers=ray: all take from one queue"),
        (("workers=ray", "workers.num_replicas=3"), {}, 3, "3 of 4 GPUs, made by workers=ray"),
        (("workers=ray",), {"SLURM_NNODES": "4"}, 8, "8 of 4 GPUs"),
        (
            ("workers=ray", "engine.data_parallel_size=2"),
            {},
            4,
            "2 made by workers=ray, each with 2 copies of 4 GPUs made by engine.data_parallel_size",
        ),
    ],
)
def test_the_plan_says_who_makes_copies_and_counts_them(
    overrides: tuple[str, ...], machine: dict[str, str], copies: int, words: str
) -> None:
    """On two nodes of 8 H100; twice the copies take about half the time, the tail stays."""
    config = load(composed("+experiment=s1k", "scale=h100x16", *overrides))
    node = Machine(**NODE, in_slurm=bool(machine), environment=machine)  # type: ignore[arg-type]
    plan = plan_run(config, ["evaluate"], node)
    (engines,) = [line for line in plan.table() if line.startswith("engines")]
    assert words in engines
    assert plan.deployment is not None
    assert plan.deployment.num_copies == copies
    ((math500, seconds),) = [e for e in plan.evaluations if e[0].name == "math500"]
    rate = plan.deployment.tokens_per_second(math500, plan.shape, plan.device)
    assert rate is not None
    assert seconds is not None
    assert any(f"{rate:,.0f} tokens/s per engine" in line for line in plan.table())
    tokens = math500.generated_tokens or 0.0
    assert tokens / (rate * (plan.deployment.num_engines or 1)) < seconds < 45 * 60


def test_an_engine_that_cannot_be_is_refused_with_what_can() -> None:
    h100 = GPUS["H100"]
    seven = Architecture.of(model("qwen2_5_7b_instruct").architecture)
    (heads,) = Deployment(tensor_parallel=8).problems(seven, h100, 32_768)
    assert "engine.tensor_parallel_size=8 does not divide the model's 28 attention heads" in heads
    assert heads.endswith("set it to 1 or 2 or 4")
    assert Deployment(tensor_parallel=4).problems(seven, h100, 32_768) == []
    large = Architecture.of(model("qwen2_5_32b_instruct").architecture)
    (memory,) = Deployment().problems(large, h100, 32_768)
    assert "does not fit the engine" in memory
    assert "set engine.tensor_parallel_size to 2 or 4 or 8" in memory


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("qwen2_5_32b_instruct", (4, 2)),  # 65 GB are read in 9.8 ms by four
        ("qwen3_14b", (2, 4)),
        ("qwen2_5_7b_instruct", (1, 8)),  # 28 heads
        ("qwen2_5_0_5b_instruct", (1, 8)),  # 14 heads
    ],
)
def test_a_node_is_shared_out_as_the_model_asks(name: str, sizes: tuple[int, int]) -> None:
    config = load(composed("+experiment=s1k", "scale=h100x8", f"model={name}"))
    assert isinstance(config.engine, Vllm)
    assert (config.engine.tensor_parallel_size, config.engine.data_parallel_size) == sizes
    assert config.engine.num_gpus == 8
    deployment = Deployment.of(config.engine)
    assert deployment is not None
    shape = Architecture.of(config.model.architecture)
    assert deployment.problems(shape, GPUS["H100"], config.model.context_tokens) == []


def test_eight_cards_hold_the_32b_with_states_of_eight_bits() -> None:
    changes = ("train=fsdp", "train.optimizer_states=8bit")
    node = Machine(**NODE)  # type: ignore[arg-type]
    found = problems_of(node, "scale=h100x8", *changes, stages=("train",))
    assert "does not fit" not in found
    assert found.startswith("torchao is not installed; pip install torchao") or not found
    assert "does not fit" in problems_of(node, "scale=h100x8", "train=fsdp", stages=("train",))
    eight = Fsdp(devices_per_node=8, optimizer_states="8bit")
    shape = Architecture.of(model("qwen2_5_32b_instruct").architecture)
    memory = training_memory(eight, shape, 8, 20_000, on_cpu=False)
    assert memory.optimizer == shape.parameters / 8 * (2 + 8 / 256)
    assert memory.weights == memory.gradients == 4 * shape.parameters / 8
    with pytest.raises(UserError, match=r"optimizer_states must be float32 under DeepSpeed"):
        DeepspeedZero3(optimizer_states="8bit")


def test_one_card_holds_autocasts_copies_of_its_matrices() -> None:
    shape = Architecture.of(model("qwen2_5_1_5b_instruct").architecture)
    found = {}
    for recompute in (True, False):
        settings = SingleDevice(activation_checkpointing=recompute)
        found[recompute] = training_memory(settings, shape, 1, 64, on_cpu=False).gathered
    assert found[False] == 2 * shape.matrix_parameters
    assert 0.95 * found[False] < found[True] < found[False], "a layer at work is there besides"
    long = training_memory(SingleDevice(), shape, 1, 32_768, on_cpu=False)
    assert long.gathered == 0, "less than the layers at work, which come after them"
    assert training_memory(SingleDevice(precision="float32"), shape, 1, 64, False).gathered == 0


def test_a_node_that_cannot_hold_the_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not fit into engine\.node_gpus=1 x H100; set"):
        load(composed("scale=h100x8", "engine.node_gpus=1"))
    with pytest.raises(UserError, match=r"lacks hidden_size.*or set engine\.tensor_parallel_size"):
        Vllm(tensor_parallel_size=None).fitted(Model(name="mine", path="me/mine"), GPUS["H100"])
    fixed = load(composed("scale=h100x8", "engine.tensor_parallel_size=8")).engine
    assert (fixed.num_gpus, fixed.num_copies) == (8, 1)  # type: ignore[attr-defined]


def problems_of(machine: Machine, *overrides: str, stages: tuple[str, ...] = ("plan",)) -> str:
    config = load(composed("+experiment=s1k", *overrides))
    return "\n".join(plan_run(config, stages, machine).problems)


@dataclasses.dataclass(frozen=True)
class Bare(Machine):
    """A machine without what is named, whatever is installed here."""

    lacks: tuple[str, ...] = ()

    def has_module(self, name: str) -> bool:
        return name not in self.lacks


NODE = {
    "gpu_memory_bytes": (80 * GIB,) * 8,
    "memory_bytes": 2048 * GIB,
    "disk_free_bytes": 2048 * GIB,
    "hub_reachable": True,
}


def test_what_later_stages_lack_is_known_before_anything_starts() -> None:
    node = Bare(**NODE, lacks=("vllm", "deepspeed", "peft"))  # type: ignore[arg-type]
    found = problems_of(node, "scale=h100x8", "train.lora.rank=16")
    for name in ("vllm", "deepspeed", "peft"):
        assert f"{name} is not installed; pip install {name}" in found
    assert problems_of(Bare(**NODE), "scale=h100x8") == ""  # type: ignore[arg-type]
    only = problems_of(node, "scale=h100x8", stages=("evaluate",))
    assert "vllm" in only
    assert "deepspeed" not in only


def test_a_server_that_does_not_answer_is_known_before_training() -> None:
    laptop = Machine.here()
    found = problems_of(laptop, "engine=openai", "engine.base_urls=[http://127.0.0.1:9/v1]")
    assert "engine.base_urls http://127.0.0.1:9/v1 does not answer; start the server" in found
    assert problems_of(laptop, "engine=openai", "engine.base_urls=[http://127.0.0.1:9/v1]",
                       stages=("select", "train")) == ""  # fmt: skip


def test_a_grader_that_cannot_grade_is_known_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_bare_grader.py").write_text("class Bare:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = problems_of(Machine.here(), "benchmark.puzzles_easy.grader=my_bare_grader.Bare")
    assert "puzzles_easy: grader my_bare_grader.Bare must have grade(" in found
    unknown = problems_of(Machine.here(), "benchmark.puzzles_easy.grader=nothing_like_it")
    assert "grader must be one of choice, exact, llm_judge, math" in unknown


def test_gpus_are_looked_for_by_whoever_needs_them() -> None:
    bare = dict(NODE, gpu_memory_bytes=())
    for stages in (("train",), ("evaluate",)):
        found = problems_of(Machine(**bare), "scale=h100x8", stages=stages)  # type: ignore[arg-type]
        assert "needs 8 H100 GPUs and this machine has 0" in found
        slurm = Machine(**bare, in_slurm=True)  # type: ignore[arg-type]
        found = problems_of(slurm, "scale=h100x8", stages=stages)
        assert (
            "this node of Slurm's allocation shows 0; ask for them with --gpus-per-node=8" in found
        )
    more = problems_of(
        Machine(**NODE),  # type: ignore[arg-type]
        *("scale=h100x8", "engine.tensor_parallel_size=8", "engine.data_parallel_size=2"),
        stages=("evaluate",),
    )
    assert "the engine needs 16 H100 GPUs and this machine has 8" in more
    processors = ("gpu=H100", "engine.device=cpu")
    assert problems_of(Machine(**bare), *processors, stages=("evaluate",)) == ""  # type: ignore[arg-type]
    small = Machine(**dict(NODE, gpu_memory_bytes=(24 * GIB,) * 8))  # type: ignore[arg-type]
    assert "a GPU of this machine 24" in problems_of(small, "scale=h100x8", stages=("evaluate",))


def test_models_here_or_downloaded_need_no_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    offline = Machine(**dict(NODE, hub_reachable=False))  # type: ignore[arg-type]
    wanted = ("model=smollm2_135m", "model.gguf_file=null", "model.path=some/model")

    def problems() -> str:
        return problems_of(offline, *wanted, stages=("evaluate",))

    assert "model.path some/model is no folder here and not whole in the hub's cache" in problems()
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert "not whole" in problems(), "weights are missing"
    (snapshot / "model.safetensors").write_bytes(b"")
    assert problems() == ""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other"))
    assert "not whole" in problems()
    folder = tmp_path / "some" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert problems() == "", "a relative folder is not on the hub"


def test_a_plan_with_problems_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s1x.stages import Run

    bare = Machine(**dict(NODE, gpu_memory_bytes=(), hub_reachable=False))  # type: ignore[arg-type]
    monkeypatch.setattr(Machine, "here", lambda *_, **__: bare)
    cfg = composed("+experiment=s1k", "scale=h100x16", "stages=[plan]")
    with pytest.raises(UserError, match=r"the run cannot work here: \d problem"):
        Run(load(cfg), cfg, tmp_path / "run", []).execute()
    cfg = composed("+experiment=s1k", "scale=h100x16", "stages=[evaluate]")
    with pytest.raises(UserError, match=r"H100 GPUs(.|\n)*Also: model\.path"):
        Run(load(cfg), cfg, tmp_path / "run", []).execute()


def test_small_sizes_are_said_in_small_units() -> None:
    settings = SingleDevice(max_sequence_tokens=512, precision="float32", device="cpu")
    full = Machine(memory_bytes=8 * GIB, disk_free_bytes=14 * 2**20)
    (found,) = make_plan(settings, model("puzzle_base"), machine=full).problems
    assert "21 MiB of disk, 14 MiB are free" in found


def test_offloading_takes_the_hosts_memory_and_time() -> None:
    settings = DeepspeedZero3Offload(devices_per_node=8)
    plan = make_plan(settings, model("qwen2_5_32b_instruct"), S1K)
    assert plan.memory.host / GIB == pytest.approx(88, abs=2)  # with pinned blocks' rounding
    assert 1.4 < plan.train_seconds / 3600 < 2.1


def test_a_model_without_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.architecture of bare lacks hidden_size"):
        make_plan(SingleDevice(), Model(name="bare", path="/nowhere"))
