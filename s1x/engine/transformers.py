"""The transformers engine: any Hugging Face causal LM, on CPU or GPU (`transformers_live`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s1x.engine.engine import Engine, LiveEngine
from s1x.option import option, setting

if TYPE_CHECKING:
    from s1x.model.model import Model


@option("engine", "transformers")
@dataclass(frozen=True)
class Transformers(Engine):
    """Runs the model with transformers, batched, on the GPU where there is one."""

    batch_size: int = setting(128, "sequences in flight at most", at_least=1, affects_result=False)
    cache_gib: float = setting(
        0.5,
        "memory for keys and values; fewer sequences fly where it is short",
        above=0,
        affects_result=False,
    )
    prefill_tokens: int = setting(
        4096, "prefix tokens computed in one pass at most", at_least=16, affects_result=False
    )
    device: str | None = setting(None, "cpu or cuda; null: cuda where there is one")
    dtype: str | None = setting(
        None,
        "of weights; null: the model's own on a GPU, float32 on a CPU",
        choices=["bfloat16", "float32"],
    )

    @property
    def num_gpus(self) -> int:
        return 0 if self.device == "cpu" else 1

    def start(self, model: Model) -> LiveEngine:
        """Loads weights and tokenizer."""
        from s1x.engine.transformers_live import start  # torch takes seconds to import

        return start(self, model)
