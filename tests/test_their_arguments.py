"""What the GPU scales hand to DeepSpeed, Lightning and vLLM, in those libraries' own objects."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file

from s1x.compose import CONF, register
from s1x.config import Config, load
from s1x.engine.vllm import Vllm
from s1x.errors import SettingError
from s1x.model.model import Model
from s1x.train.deepspeed_zero3 import EXTRA_KEYS, EXTRA_ZERO_KEYS, DeepspeedZero3
from s1x.train.job import Job

SCALES = ("h100x16", "h100x8")
register()


def composed(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return load(compose("config", overrides=["+experiment=s1k", *overrides]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2.5-32B-Instruct as its config.json describes it: no weights."""
    from transformers import Qwen2Config

    numbers = dict(composed("scale=h100x16").model.architecture or {})
    place = tmp_path_factory.mktemp("qwen")
    config = Qwen2Config(**numbers, max_position_embeddings=32_768, dtype="bfloat16")
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(place)
    return place


def job(config: Config, folder: Path, **changes: object) -> Job:
    settings = dataclasses.replace(config.train, device="cpu", **changes)  # type: ignore[arg-type]
    model = Model(name="qwen", path=str(folder))
    return Job(settings, model, folder / "rows.parquet", 0, folder, settings.devices_per_node or 1)


@pytest.mark.deepspeed
@pytest.mark.parametrize("scale", SCALES)
def test_deepspeed_reads_its_configuration(scale: str, folder: Path) -> None:
    config_of = pytest.importorskip("deepspeed.runtime.config").DeepSpeedConfig
    from s1x.train.rank.zero3 import Zero3

    ours = Zero3(job(composed(f"scale={scale}"), folder)).config()
    read = config_of(ours)
    zero = read.zero_config
    assert int(zero.stage) == 3
    assert read.bfloat16_config.enabled
    assert not read.float16_config.enabled
    assert read.gradient_clipping == 1.0
    assert read.zero_allow_untested_optimizer
    assert read.zero_force_ds_cpu_optimizer is False
    assert zero.overlap_comm
    assert zero.reduce_bucket_size == zero.prefetch_bucket_size == 200_000_000
    assert zero.max_live_parameters == zero.max_reuse_distance == 1_000_000_000
    offloads = [zero.offload_optimizer, zero.offload_param]
    devices = [str(offload.device) if offload else "none" for offload in offloads]
    assert all(("cpu" in device) == (scale == "h100x8") for device in devices)
    assert all(offload.pin_memory for offload in offloads if offload)


@pytest.mark.deepspeed
def test_deepspeed_knows_every_key_that_may_be_given(folder: Path) -> None:
    config_of = pytest.importorskip("deepspeed.runtime.config").DeepSpeedConfig
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    from s1x.train.rank.zero3 import Zero3

    fields = DeepSpeedZeroConfig.model_fields
    names = {field.alias or name for name, field in fields.items()}
    assert set(EXTRA_ZERO_KEYS) <= names
    assert not {"stage", "offload_param", "offload_optimizer"} & set(EXTRA_ZERO_KEYS)
    root = Path(str(pytest.importorskip("deepspeed").__file__)).parent
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in root.rglob("*c*on*.py")
        if "test" not in str(path)
    )
    assert [key for key in EXTRA_KEYS if f'"{key}"' not in sources] == []
    extra = {
        "zero_optimization": {"zero_hpz_partition_size": 8},
        "communication_data_type": "fp32",
    }
    config = composed("scale=h100x16")
    read = config_of(Zero3(job(config, folder, extra_config=extra)).config())
    assert read.zero_config.zero_hpz_partition_size == 8
    assert read.communication_data_type == torch.float32
    assert int(read.zero_config.stage) == 3, "ours stay"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"bf16": {"enabled": False}}, "extra_config must be of keys among"),
        ({"optimizer": {}}, "'optimizer'"),
        ({"zero_optimization": {"stage": 2}}, "extra_config.zero_optimization must be of keys"),
        ({"zero_optimization": {"zero_hpz_partition_sise": 8}}, "zero_hpz_partition_sise"),
        ({"zero_optimization": {"zero_hpz_partition_size": 3}}, r"a divisor of devices_per_node"),
    ],
)
def test_other_keys_are_refused_by_name(extra: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        DeepspeedZero3(devices_per_node=8, extra_config=extra)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("scale=h100x16",), marks=pytest.mark.deepspeed),
        pytest.param(("scale=h100x8",), marks=pytest.mark.deepspeed),
        ("scale=h100x16", "train=fsdp"),
        ("scale=laptop",),
    ],
)
def test_lightning_takes_its_trainers_arguments(overrides: tuple[str, ...], folder: Path) -> None:
    from s1x.train.rank.module import SftModule
    from s1x.train.rank.passes import Passes
    from s1x.train.rank.placement import Placement
    from s1x.train.rank.worker import build_trainer

    config = composed(*overrides)
    if config.train.strategy_needs:
        pytest.importorskip("deepspeed")
    made = job(config, folder)
    passes = Passes.__new__(Passes)
    passes.steps, passes.per_step = [], 3
    trainer = build_trainer(SftModule(Placement.of(made), passes), 0)
    assert trainer.accumulate_grad_batches == 3
    assert trainer.num_nodes == made.settings.nodes
    assert trainer.num_devices == made.ranks_per_node
    assert trainer.world_size == made.num_ranks
    assert trainer.gradient_clip_val == 1.0
    names = {"fsdp": "32-true", "laptop": "32-true"}
    wanted = next((v for k, v in names.items() if any(k in o for o in overrides)), "bf16-true")
    assert trainer.precision == wanted
    assert trainer.checkpoint_callbacks == [], "checkpoints are ours"


@pytest.mark.vllm
@pytest.mark.parametrize("scale", SCALES)
def test_vllm_takes_its_arguments(scale: str, folder: Path) -> None:
    """The configuration that vLLM makes of them (its CPU build; the model's shape, no weights)."""
    pytest.importorskip("vllm")
    from vllm.engine.arg_utils import AsyncEngineArgs

    from s1x.engine.vllm_live import _arguments

    config = composed(f"scale={scale}")
    engine = config.engine
    assert isinstance(engine, Vllm)
    assert not engine.sessions, "until a GPU has shown that they gain"
    model = dataclasses.replace(config.model, path=str(folder))
    save_file({}, folder / "model.safetensors")
    arguments = _arguments(engine, model, on_cpu=False)
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert set(arguments) <= known
    made = AsyncEngineArgs(**arguments)
    model_config = made.create_model_config()
    assert model_config.max_model_len == config.model.context_tokens
    assert model_config.skip_tokenizer_init
    assert model_config.get_total_num_kv_heads() == 8
    assert model_config.hf_config.num_attention_heads % engine.tensor_parallel_size == 0
    assert model_config.dtype == torch.bfloat16
