from __future__ import annotations

import pytest
from gateways import MODEL

from s1x.engine.engine import LiveEngine
from s1x.engine.transformers import Transformers


@pytest.fixture(scope="session")
def puzzle() -> LiveEngine:
    """The laptop's model, loaded once."""
    return Transformers(batch_size=32).start(MODEL)
