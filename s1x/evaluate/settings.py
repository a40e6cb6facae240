"""What the stages `evaluate` and `store` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s1x.errors import SettingError, UserError
from s1x.option import Option, option, setting
from s1x.sqlite import JOURNALS
from s1x.traces.confidence import GROUP_TOKENS


@option("sampling", "sampling")
@dataclass(frozen=True)
class Sampling(Option):
    """How tokens are drawn. Temperature 0 is greedy, as in the paper."""

    temperature: float = setting(0.0, "0 is greedy", at_least=0)
    top_p: float = setting(1.0, "nucleus sampling: probability mass kept", above=0, at_most=1)
    samples_per_problem: int = setting(
        1, "samples of every problem, for pass@k and majority", at_least=1
    )
    confidence: bool = setting(
        False,
        "also keep how sure the model was of each token (docs/confidence.md); policies that need "
        "it switch it on",
    )
    confidence_group_tokens: int = setting(
        GROUP_TOKENS, "tokens of a group, whose mean confidence DeepConf looks at", at_least=1
    )


@option("evaluate", "evaluate")
@dataclass(frozen=True)
class EvaluateSettings(Option):
    """Which models answer, and how the base model is asked."""

    models: list[str] = setting(
        factory=lambda: ["base", "fine_tuned"], doc="base, fine_tuned, or both"
    )
    base_direct: bool = setting(True, "also ask the base model for the answer without thinking")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.models:
            if name not in ("base", "fine_tuned"):
                raise SettingError("models", "a list of base and fine_tuned", list(self.models))
        if not self.models:
            raise SettingError("models", "base, fine_tuned or both", [], "name one model at least")


@option("store", "store")
@dataclass(frozen=True)
class StoreSettings(Option):
    """Where the trace store is, and what `stages=[store]` does with it besides showing it."""

    folder: str | None = setting(
        None,
        "of the trace store and of remembered scores (one on a node's own disk is gone with the "
        "node); null: <output>/traces",
        affects_result=False,
    )
    journal: str = setting(
        "auto",
        "SQLite's, of all stores: wal is quicker and for file systems of one machine, delete for "
        "shared ones; auto asks the kernel which it is",
        choices=JOURNALS,
        affects_result=False,
    )
    remove_models: list[str] = setting(
        factory=list, doc="models to remove, by the folder names shown (or their beginnings)"
    )
    unused_days: float | None = setting(None, "also removes models unused for N days", at_least=0)
    merge: bool = setting(False, "puts all files of a model into one, each stream once")
    check: int = setting(
        0,
        "streams per model to generate again with `engine`, to see whether they come out the same",
        at_least=0,
    )

    def place(self, output: Path) -> Path:
        """The folder of the trace store.

        Args:
            output: of the run.
        """
        return Path(self.folder) if self.folder else output / "traces"

    def check_folder(self) -> None:
        """Refuses a folder that cannot be.

        Raises:
            UserError: it cannot be made.
        """
        try:
            Path(self.folder or ".").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"store.folder {self.folder} cannot be used ({error.strerror}); choose another one"
            ) from None


def check_samples(
    temperature: float, number: int, key: str = "sampling.samples_per_problem"
) -> None:
    """Refuses several samples where all are the same.

    Raises:
        SettingError: `number` is more than 1 at temperature 0.
    """
    if number > 1 and temperature <= 0:
        must = "1 when sampling.temperature is 0 (greedy samples are all the same)"
        raise SettingError(key, must, number, "set sampling.temperature=1.0")
