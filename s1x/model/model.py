"""What s1x must know of a model: where it is, its delimiters, and its architecture's numbers."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import file_hash, fingerprint
from s1x.errors import UserError
from s1x.option import Option, option, setting


@option("model", "model")
@dataclass(frozen=True)
class Model(Option):
    """A causal language model in a chat format with delimited thinking (paper, appendix C).

    The assistant's turn is `thinking_start`, the reasoning trace, `answer_start`, the attempt,
    `end_of_turn`. Thinking has ended when the model writes `thinking_end`, which is how
    `answer_start` begins (`<|im_start|>` for s1; `</think>` for models of that family).
    """

    name: str = setting(doc="short name, used in rows, reports and file names")
    path: str = setting(doc="folder, hub id, or package:<module>/<path> for a shipped one")
    revision: str | None = setting(None, "commit or tag on the hub")
    gguf_file: str | None = setting(None, "name of a GGUF file in `path`")
    dtype: str = setting("bfloat16", "of weights when running", choices=["bfloat16", "float32"])
    context_tokens: int = setting(32_768, "longest sequence, prompt included", at_least=16)
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
    architecture: dict[str, Any] = setting(
        factory=dict, doc="numbers of its config.json, for `plan` without weights or network"
    )

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
        folder = Path(self.path).expanduser()
        looks_local = self.path.startswith((".", "/", "~")) or folder.exists()
        if looks_local and not (folder / (self.gguf_file or "config.json")).is_file():
            raise UserError(
                f"model.path {self.path} is not a model folder: it has no "
                f"{self.gguf_file or 'config.json'}; give a folder that save_pretrained wrote"
            )
        return str(folder) if looks_local else self.path

    def fingerprint(self) -> str:
        """Hash of the folder's files but its card (or of hub id and revision) and of the chat
        format."""
        source = Path(self.source())
        content: Any = [self.path, self.revision]
        if source.is_dir():
            files = [p for p in sorted(source.iterdir()) if p.is_file() and p.suffix != ".md"]
            content = [_file_mark(path) for path in files]
        unread = ("name", "path", "revision", "architecture", "notes")
        format_ = {k: v for k, v in asdict(self).items() if k not in unread}
        return fingerprint({"content": content, "format": format_})


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
