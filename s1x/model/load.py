"""Loading what a `Model` names: its tokenizer, its configuration and its weights.

One rule for every way to train or run it: weights are `model.safetensors`, or else the files that
`model.safetensors.index.json` names, and they have exactly the tensors that the configuration
calls for. Other files in the folder are not the model's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from s1x.errors import UserError, reason_of
from s1x.model.model import INDEX, SINGLE, Model, local_config, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer, with the model's own chat template and pad token put in.

    Raises:
        UserError: it cannot be read, the pad token is not in its vocabulary, or the model has no
            embedding for some of its ids.
    """
    from transformers import AutoTokenizer

    source = model.source()
    with readable(source):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **_which(model))
    if model.chat_template:
        tokenizer.chat_template = model.chat_template
    if model.pad_token:
        if tokenizer.convert_tokens_to_ids(model.pad_token) in (None, tokenizer.unk_token_id):
            raise UserError(
                f"model.pad_token {model.pad_token!r} is not in the vocabulary of {source}; "
                "name a token of it that no text contains"
            )
        tokenizer.pad_token = model.pad_token
    if tokenizer.chat_template is None:
        raise UserError(f"the tokenizer of {source} has no chat template; give model.chat_template")
    numbers = local_config(Path(source))
    rows = numbers.get("vocab_size") or (numbers.get("text_config") or {}).get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if rows is not None and largest >= rows:
        raise UserError(
            f"the tokenizer of {source} has ids up to {largest}, but the model's embedding has "
            f"{rows} rows (vocab_size in config.json); give the tokenizer that belongs to the model"
        )
    return tokenizer


def _which(model: Model) -> dict[str, Any]:
    """Keyword arguments that all `from_pretrained` share."""
    found = {"revision": model.revision, "gguf_file": model.gguf_file}
    return {name: value for name, value in found.items() if value}


def load_config(model: Model) -> PretrainedConfig:
    """The configuration object of the model."""
    from transformers import AutoConfig

    with readable(model.source()):
        config: PretrainedConfig = AutoConfig.from_pretrained(model.source(), **_which(model))
    return config


def load_causal_lm(
    model: Model, dtype: str | None = None, attention: str = "sdpa"
) -> PreTrainedModel:
    """The causal LM with its weights, in main memory.

    Args:
        model: where the weights are.
        dtype: of the weights; None: the model's own.
        attention: name of the implementation, as transformers knows it.

    Raises:
        UserError: the weights cannot be read, or are not the configuration's.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    source, factory = model.source(), cast(Any, AutoModelForCausalLM)  # with a report, a pair
    said = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # what does not fit is told below, in a sentence
    try:
        with readable(source):
            loaded, report = factory.from_pretrained(
                source,
                dtype=dtype or model.dtype,
                attn_implementation=attention,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report
                use_safetensors=None if model.gguf_file else True,  # the rule of `weight_files`
                **_which(model),
            )
    finally:
        logging.set_verbosity(said)
    _refuse_misfits(
        source,
        sorted(report["missing_keys"]),
        sorted(report["unexpected_keys"]),
        {name: (tuple(found), tuple(want)) for name, found, want in report["mismatched_keys"]},
    )
    whole: PreTrainedModel = loaded
    return whole


def empty_causal_lm(model: Model, dtype: str, attention: str) -> PreTrainedModel:
    """The causal LM without its weights: whatever the surrounding context makes of parameters.

    Raises:
        UserError: the model is a GGUF file.
    """
    from transformers import AutoModelForCausalLM

    if model.gguf_file:
        raise UserError("sharded training reads safetensors, not GGUF; use train=single_device")
    made: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        load_config(model), dtype=dtype, attn_implementation=attention
    )
    return made


def refuse_other_weights(model: Model) -> None:
    """For engines that read every safetensors file of a folder, or the index first.

    Raises:
        UserError: they would read other weights than `weight_files`.
    """
    folder = Path(model.source())
    own = weight_files(folder) if folder.is_dir() and not model.gguf_file else []
    others = sorted(p.name for p in folder.glob("*.safetensors") if own and p not in own)
    if others and own == [folder / SINGLE]:
        raise UserError(
            f"this engine would also read {others[0]} of {folder}, which is not the model's "
            f"({SINGLE} is); move it elsewhere, or use engine=transformers"
        )


def checkpoint_files(model: Model) -> list[str]:
    """The safetensors files of a model folder or hub repository, on this machine.

    Raises:
        UserError: it has none (convert it first: `save_pretrained` writes them), or lacks one.
    """
    source = model.source()
    folder = Path(source)
    if not folder.is_dir():
        folder = _fetched(model, [SINGLE])
        folder = _fetched(model, [file.name for file in weight_files(folder)])
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing == [SINGLE]:
        raise UserError(
            f"{source} has no safetensors files ({SINGLE} or {INDEX}); "
            "load it once with transformers and save_pretrained it"
        )
    if missing:
        raise UserError(
            f"{source} lacks {missing[0]}, which {INDEX} names ({len(missing)} of "
            f"{len(files)} files are missing); copy or download it again"
        )
    return [str(file) for file in files]


def _fetched(model: Model, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    with readable(model.path):
        place = snapshot_download(
            model.path, revision=model.revision, allow_patterns=["*.json", *files]
        )
    return Path(place)


#: safetensors' open file, whose stub has no types: `keys`, `get_tensor`, `get_slice`
TensorFile: TypeAlias = Any


def stored_tensors(
    model: Model,
    causal_lm: PreTrainedModel,
    shape_of: Callable[[torch.nn.Parameter], Sequence[int]] = lambda parameter: parameter.shape,
) -> Iterator[tuple[str, torch.nn.Parameter, TensorFile]]:
    """(name, parameter, open safetensors file) of each parameter, adapters left out.

    A tied parameter comes once. The whole is checked before the first comes.

    Args:
        model: where the files are.
        causal_lm: the model without its weights.
        shape_of: the whole shape of a parameter, of which this rank may hold a part.

    Raises:
        UserError: tensors are missing, have another shape, or belong to no parameter.
    """
    from safetensors import safe_open

    named = causal_lm.named_parameters(remove_duplicate=False)
    wanted = {plain_name(name): p for name, p in named if ".lora_" not in name}
    stored: dict[str, TensorFile] = {}
    for path in checkpoint_files(model):
        with readable(model.path):
            file: TensorFile = safe_open(path, framework="pt")
            stored |= dict.fromkeys(file.keys(), file)
    first: dict[int, str] = {}
    for name, parameter in wanted.items():
        if name in stored:
            first.setdefault(id(parameter), name)
    ignored = [r"rotary_emb\.inv_freq", *(causal_lm._keys_to_ignore_on_load_unexpected or ())]
    shapes = {
        name: (tuple(stored[name].get_slice(name).get_shape()), tuple(shape_of(wanted[name])))
        for name in first.values()
    }
    _refuse_misfits(
        model.source(),
        [name for name, parameter in wanted.items() if id(parameter) not in first],
        [n for n in stored if n not in wanted and not any(re.search(p, n) for p in ignored)],
        {name: both for name, both in shapes.items() if both[0] != both[1]},
    )
    for name in first.values():
        yield name, wanted[name], stored[name]


def plain_name(name: str) -> str:
    """A parameter's name in the model without adapters."""
    return name.replace(".base_layer.", ".")


Shape = tuple[int, ...]


def _refuse_misfits(
    source: str,
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Mapping[str, tuple[Shape, Shape]],
) -> None:
    """Weights that are not the configuration's would leave some of the model at random values."""
    found, wanted = next(iter(shapes.values()), ((), ()))
    faults = {
        "missing": missing,
        "more than config.json calls for": unexpected,
        f"of another shape ({found} for {wanted})": list(shapes),
    }
    told = [
        f"{names[0]} {f'and {len(names) - 1} more are' if len(names) > 1 else 'is'} {fault}"
        for fault, names in faults.items()
        if names
    ]
    if told:
        raise UserError(
            f"the weights of {source} are not those of its config.json: {'; '.join(told)}; "
            "give the folder that save_pretrained wrote, whole"
        )


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turns what goes wrong when a model is fetched or opened into one clear line.

    Libraries raise what they like over a damaged file (safetensors and tokenizers have errors of
    their own); only want of memory is told elsewhere.
    """
    try:
        yield
    except (UserError, MemoryError, AssertionError):
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise
        reason = reason_of(error)
        raise UserError(
            f"model.path {path} cannot be loaded ({reason}); give a local folder whose files are "
            "whole, or check the name and the way to the hub (HF_HUB_OFFLINE, HF_TOKEN)"
        ) from error
