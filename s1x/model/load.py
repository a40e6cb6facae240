"""Loading what a `Model` names: its tokenizer, its configuration and its weights.

One rule for every way to train or run it: weights are `model.safetensors`, or else the files that
`model.safetensors.index.json` names, and they have exactly the tensors that the configuration
calls for. Other files in the folder are not the model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError
from s1x.model.model import INDEX, SINGLE, local_config, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from s1x.model.model import Model


@dataclass(frozen=True)
class Source:
    """Where weights come from and how they are to run."""

    path: str
    revision: str | None
    gguf_file: str | None
    dtype: torch.dtype
    attention: str = "sdpa"

    @classmethod
    def of(cls, model: Model, dtype: str | None = None, attention: str = "sdpa") -> Source:
        """The source of a model's weights.

        Raises:
            UserError: the folder is no model, or the package that ships it is missing.
        """
        import torch

        number = getattr(torch, dtype or model.dtype)
        return cls(model.source(), model.revision, model.gguf_file, number, attention)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that all `from_pretrained` share."""
        found: dict[str, Any] = {}
        if self.revision:
            found["revision"] = self.revision
        if self.gguf_file:
            found["gguf_file"] = self.gguf_file
        return found


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer, with the model's own chat template and pad token put in.

    Raises:
        UserError: it cannot be read, the pad token is not in its vocabulary, or the model has no
            embedding for some of its ids.
    """
    from transformers import AutoTokenizer

    source = model.source()
    arguments = {"revision": model.revision} if model.revision else {}
    if model.gguf_file:
        arguments["gguf_file"] = model.gguf_file
    with readable(source):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **arguments)
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
    _check_vocabulary(tokenizer, source)
    return tokenizer


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    numbers = local_config(Path(source))
    rows = numbers.get("vocab_size") or (numbers.get("text_config") or {}).get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if rows is not None and largest >= rows:
        raise UserError(
            f"the tokenizer of {source} has ids up to {largest}, but the model's embedding has "
            f"{rows} rows (vocab_size in config.json); give the tokenizer that belongs to the model"
        )


def load_config(source: Source) -> Any:
    """The configuration object of the model."""
    from transformers import AutoConfig

    with readable(source.path):
        return AutoConfig.from_pretrained(source.path, **source.arguments())


def load_causal_lm(source: Source) -> PreTrainedModel:
    """The causal LM with its weights, in main memory.

    Raises:
        UserError: the weights cannot be read, or are not the configuration's.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    factory: Any = AutoModelForCausalLM
    arguments = source.arguments()
    if not source.gguf_file:
        arguments["use_safetensors"] = True  # the rule of `weight_files`
    said = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # what does not fit is told below, in a sentence
    try:
        with readable(source.path):
            model, report = factory.from_pretrained(
                source.path,
                dtype=source.dtype,
                attn_implementation=source.attention,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report
                **arguments,
            )
    finally:
        logging.set_verbosity(said)
    shapes = [
        (name, tuple(found), tuple(wanted)) for name, found, wanted in report["mismatched_keys"]
    ]
    _refuse_misfits(
        source, sorted(report["missing_keys"]), sorted(report["unexpected_keys"]), shapes
    )
    loaded: PreTrainedModel = model
    return loaded


def empty_causal_lm(source: Source) -> PreTrainedModel:
    """The causal LM without its weights: whatever the surrounding context makes of parameters.

    Raises:
        UserError: the source is a GGUF file.
    """
    from transformers import AutoModelForCausalLM

    if source.gguf_file:
        raise UserError("sharded training reads safetensors, not GGUF; use train=single_device")
    factory: Any = AutoModelForCausalLM
    made: PreTrainedModel = factory.from_config(
        load_config(source), dtype=source.dtype, attn_implementation=source.attention
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


def checkpoint_files(source: Source) -> list[str]:
    """The safetensors files of a model folder or hub repository, on this machine.

    Raises:
        UserError: it has none (convert it first: `save_pretrained` writes them), or lacks one.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        folder = _fetched(source, ["*.json", SINGLE])
        missing = [file.name for file in weight_files(folder) if not file.is_file()]
        if missing and missing != [SINGLE]:
            folder = _fetched(source, ["*.json", *missing])
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing == [SINGLE]:
        raise UserError(
            f"{source.path} has no safetensors files ({SINGLE} or {INDEX}); "
            "load it once with transformers and save_pretrained it"
        )
    if missing:
        raise UserError(
            f"{source.path} lacks {missing[0]}, which {INDEX} names ({len(missing)} of "
            f"{len(files)} files are missing); copy or download it again"
        )
    return [str(file) for file in files]


def _fetched(source: Source, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    with readable(source.path):
        return Path(
            snapshot_download(source.path, revision=source.revision, allow_patterns=patterns)
        )


def stored_tensors(
    source: Source, causal_lm: PreTrainedModel, shapes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, Any, Any]]:
    """(name, parameter, open safetensors file) of each parameter, adapters left out.

    A tied parameter comes once. The whole is checked before the first comes.

    Args:
        source: where the files are.
        causal_lm: the model without its weights.
        shapes: whole shape of each parameter, by its plain name.

    Raises:
        UserError: tensors are missing, have another shape, or belong to no parameter.
    """
    from safetensors import safe_open

    named = causal_lm.named_parameters(remove_duplicate=False)
    wanted = {plain_name(name): p for name, p in named if ".lora_" not in name}
    stored: dict[str, Any] = {}
    opened: Any = safe_open  # its methods have no types
    for path in checkpoint_files(source):
        with readable(source.path):
            file = opened(path, framework="pt")
            stored |= dict.fromkeys(file.keys(), file)
    found = {name: tuple(file.get_slice(name).get_shape()) for name, file in stored.items()}
    first: dict[int, str] = {}
    for name, parameter in wanted.items():
        if name in stored:
            first.setdefault(id(parameter), name)
    ignored = [r"rotary_emb\.inv_freq", *(causal_lm._keys_to_ignore_on_load_unexpected or ())]
    misfits = {n: (found[n], tuple(shapes[n])) for n in first.values()}
    _refuse_misfits(
        source,
        [name for name, parameter in wanted.items() if id(parameter) not in first],
        [n for n in stored if n not in wanted and not any(re.search(p, n) for p in ignored)],
        [(name, *both) for name, both in misfits.items() if both[0] != both[1]],
    )
    for name in first.values():
        yield name, wanted[name], stored[name]


def plain_name(name: str) -> str:
    """A parameter's name in the plain model: without what peft puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _refuse_misfits(
    source: Source,
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
) -> None:
    """Weights that are not the configuration's would leave some of the model at random values."""
    faults = []
    if missing:
        faults.append(f"{_first_of(missing)} missing")
    if unexpected:
        faults.append(f"{_first_of(unexpected)} more than config.json calls for")
    if shapes:
        _, found, wanted = shapes[0]
        faults.append(
            f"{_first_of([s[0] for s in shapes])} of another shape ({found} for {wanted})"
        )
    if faults:
        raise UserError(
            f"the weights of {source.path} are not those of its config.json: {'; '.join(faults)}; "
            "give the folder that save_pretrained wrote, whole"
        )


def _first_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} {'are' if more else 'is'}"


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turns what goes wrong when a model is fetched or opened into one clear line.

    Libraries raise what they like over a damaged file (safetensors and tokenizers have errors of
    their own); only want of memory is told elsewhere.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if "out of memory" in str(error).lower() or isinstance(error, AssertionError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.path {path} cannot be loaded ({reason}); give a local folder whose files are "
            "whole, or check the name and the way to the hub (HF_HUB_OFFLINE, HF_TOKEN)"
        ) from error
