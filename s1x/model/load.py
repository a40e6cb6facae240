"""Loading what a `Model` names: its tokenizer, its configuration and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError

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
        UserError: it cannot be read, or the pad token is not in its vocabulary.
    """
    from transformers import AutoTokenizer

    source = model.source()
    arguments = {"revision": model.revision} if model.revision else {}
    if model.gguf_file:
        arguments["gguf_file"] = model.gguf_file
    with _HubErrors(source):
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
    return tokenizer


def load_config(source: Source) -> Any:
    """The configuration object of the model."""
    from transformers import AutoConfig

    with _HubErrors(source.path):
        return AutoConfig.from_pretrained(source.path, **source.arguments())


def load_causal_lm(source: Source) -> PreTrainedModel:
    """The causal LM with its weights, in main memory.

    Raises:
        UserError: the weights cannot be read or the hub cannot be reached.
    """
    from transformers import AutoModelForCausalLM

    with _HubErrors(source.path):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source.path,
            dtype=source.dtype,
            attn_implementation=source.attention,
            **source.arguments(),
        )
    return model


def empty_causal_lm(source: Source) -> Any:
    """The causal LM without its weights: whatever the surrounding context makes of parameters."""
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    return factory.from_config(
        load_config(source), dtype=source.dtype, attn_implementation=source.attention
    )


def checkpoint_files(source: Source) -> list[str]:
    """The safetensors files of a model folder or hub repository, on this machine.

    Raises:
        UserError: it has none (convert it first: `save_pretrained` writes them).
    """
    from pathlib import Path

    folder = Path(source.path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        with _HubErrors(source.path):
            patterns = ["*.safetensors", "*.json"]
            folder = Path(
                snapshot_download(source.path, revision=source.revision, allow_patterns=patterns)
            )
    files = sorted(str(file) for file in folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{source.path} has no safetensors files, which sharded loading reads; "
            "load it once with transformers and save_pretrained it"
        )
    return files


class _HubErrors:
    """Turns what goes wrong when a model is fetched or opened into one clear line."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) or not isinstance(error, (OSError, ValueError)):
            return
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.path {self.path} cannot be loaded ({reason}); give a local folder, "
            "or check the name and the way to the hub (HF_HUB_OFFLINE, HF_TOKEN)"
        ) from error
