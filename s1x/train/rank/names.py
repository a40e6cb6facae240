"""Names of parameters with and without adapters around them."""

from __future__ import annotations


def plain_name(name: str) -> str:
    """The name in the plain model: without what peft puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
