"""The tiny model, once for all engine tests."""

from __future__ import annotations

import pytest

from s1x.model.model import Model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A random model's folder."""
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
