"""What s1x must know of a model: where it is, its delimiters, and its architecture's numbers."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import file_hash, fingerprint
from s1x.errors import SettingError, UserError
from s1x.model.architecture import architecture_numbers
from s1x.option import Option, option, setting


@option("model", "model")
@dataclass(frozen=True)
class Model(Option):
    """A causal language model in a chat format with delimited thinking (paper, appendix C).

    The assistant's turn is `thinking_start`, the reasoning trace, `answer_start`, the attempt,
    `end_of_turn`. Thinking has ended when the model writes `thinking_end`, which is how
    `answer_start` begins (`<|im_start|>` for s1; `</think>` for models of that family).
    """

    name: str = setting("", "short name, used in rows, reports and files; '': the folder's name")
    path: str = setting(doc="folder, hub id, or package:<module>/<path> for a shipped one")
    revision: str | None = setting(None, "commit or tag on the hub")
    gguf_file: str | None = setting(None, "name of a GGUF file in `path`")
    dtype: str = setting("bfloat16", "of weights when running", choices=["bfloat16", "float32"])
    context_tokens: int = setting(
        0, "longest sequence, prompt included; 0: what config.json says, else 32,768", at_least=0
    )
    thinking_start: str = setting("<|im_start|>think\n", "opens the assistant's turn")
    thinking_end: str = setting("<|im_start|>", "what the model writes to end its thinking")
    answer_start: str = setting("<|im_start|>answer\n", "from thinking to the answer, forced")
    final_answer_cue: str = setting("Final Answer:", "forced after `answer_start` after a cut")
    end_of_turn: str = setting("<|im_end|>", "what the model writes to end its answer")
    pad_token: str | None = setting(None, "a token that never occurs; None: the tokenizer's own")
    chat_template: str | None = setting(None, "Jinja text in place of the tokenizer's own")
    direct_prompt: str | None = setting(
        None, "text with {question} for answering without thinking; None: the chat template alone"
    )
    notes: list[str] = setting(
        factory=list, doc="sentences that a report on it must say, the most important first"
    )
    examples: list[str] = setting(
        factory=list, doc="questions that the page of stages=[serve] offers", affects_result=False
    )
    architecture: dict[str, Any] = setting(
        factory=dict,
        doc="numbers of its config.json, for `plan` without weights or network; "
        "{}: read from the folder",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.context_tokens < 16:
            raise SettingError("context_tokens", "16 or more", self.context_tokens)
        for name in _DELIMITERS:  # a shell's two characters are meant as the newline
            written = getattr(self, name)
            object.__setattr__(self, name, written.replace("\\n", "\n"))
        found = {} if self.name and self.context_tokens and self.architecture else self._config()
        own = {
            "name": _folder_name(self.path),
            "context_tokens": found.get("max_position_embeddings") or DEFAULT_CONTEXT_TOKENS,
            "architecture": architecture_numbers(found),
        }
        for name, value in own.items():
            object.__setattr__(self, name, getattr(self, name) or value)

    def _config(self) -> dict[str, Any]:
        """`config.json` where it is on this machine; what is wrong with the path is told later."""
        try:
            return local_config(Path(self.source())) if self.is_local() else {}
        except UserError:
            return {}

    def is_local(self) -> bool:
        """Whether the weights are on this machine: a folder, or shipped by a package."""
        return self.path.startswith(("package:", ".", "/", "~")) or Path(self.path).exists()

    def source(self) -> str:
        """`path` with `package:` resolved: a folder on this machine, or a hub id.

        Raises:
            UserError: the package that ships the model is not installed, or the folder is not one.
        """
        if self.path.startswith("package:"):
            return str(_package_folder(self.path))
        if not self.is_local():
            return self.path
        folder, file = Path(self.path).expanduser(), self.gguf_file or "config.json"
        if not (folder / file).is_file():
            raise UserError(
                f"model.path {self.path} is not a model folder: it has no {file}; "
                "give a folder that save_pretrained wrote"
            )
        return str(folder)

    def fingerprint(self) -> str:
        """Hash of the model's own files (or of hub id and revision) and of the chat format.

        Of a folder these are the weights, the configurations and the tokenizer; a card, an old copy
        of the weights or an optimizer's state beside them are not the model.
        """
        source = Path(self.source())
        content: Any = [self.path, self.revision]
        if source.is_dir():
            content = [_file_mark(path) for path in self._own_files(source)]
        unread = ("name", "path", "revision", "architecture", "examples")
        format_ = {k: v for k, v in asdict(self).items() if k not in unread}
        return fingerprint({"content": content, "format": format_})

    def _own_files(self, folder: Path) -> list[Path]:
        if self.gguf_file:
            return [folder / self.gguf_file]
        others = [p for p in folder.iterdir() if p.name.startswith(_READ) or p.suffix == ".model"]
        found = {*others, *weight_files(folder)}
        return sorted(path for path in found if path.is_file())


def describe_own_model(node: MutableMapping[Any, Any], overrides: Sequence[str]) -> None:
    """Forgets what an option says of its own weights where the command line names others.

    With `model.path=/my/model` the name, context and numbers come from that folder; chat format and
    type stay the option's. What the command line sets beside the path counts.

    Args:
        node: the composed group `model`, changed in place.
        overrides: of the command line.
    """
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    if "model.path" not in given or node.get("_target_") != f"{__name__}.Model":
        return
    for name, unknown in _OF_WEIGHTS.items():
        if not any(f"{key}.".startswith(f"model.{name}.") for key in given):
            node[name] = unknown


DEFAULT_CONTEXT_TOKENS = 32_768
_DELIMITERS = ("thinking_start", "thinking_end", "answer_start", "final_answer_cue", "end_of_turn")
#: what an option says of its own weights alone, as a `Model` has it that says nothing
_OF_WEIGHTS = {
    **{"name": "", "revision": None, "context_tokens": 0, "direct_prompt": None},
    "architecture": dict[str, object](),
}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: beginnings of the names of files that transformers reads beside the weights
_READ = (
    *("config.json", "generation_config.json", "adapter_config.json", "chat_template"),
    *("tokenizer", "vocab", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
)


def local_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder; empty where there is none.

    Raises:
        UserError: it is not a JSON object.
    """
    file = folder / "config.json"
    return _json_object(file) if file.is_file() else {}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, as transformers reads them; they need not exist.

    Raises:
        UserError: the index is not one.
    """
    if (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return [folder / SINGLE]
    places = _json_object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(n, str) for n in places.values()):
        raise UserError(f"{folder / INDEX} has no weight_map of names to files; copy it again")
    return sorted({folder / name for name in places.values()})


def _json_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is not a JSON object; copy it again")
    return found


def _folder_name(path: str) -> str:
    """A name from the last part of a folder, hub id or shipped path, fit for file names."""
    last = Path(path.removeprefix("package:")).expanduser().resolve().name
    return re.sub(r"[^\w.+-]+", "-", last).strip("-.") or "model"


#: larger files are known by name, size and time instead of their bytes
HASHED_BYTES = 1 << 30


def _file_mark(path: Path) -> list[str]:
    state = path.stat()
    if state.st_size > HASHED_BYTES:
        return [path.name, str(state.st_size), str(state.st_mtime_ns)]
    return [path.name, file_hash(path)]


def _package_folder(path: str) -> Path:
    module, _, rest = path.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path {path} needs the package {module}, which is not installed; "
            f"pip install {module.replace('_', '-')}"
        )
    return Path(next(iter(spec.submodule_search_locations))) / rest
