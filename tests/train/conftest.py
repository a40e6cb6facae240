"""Fixtures: a tiny model on disk and rows to train it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llama import rows, write_model, write_rows

from s1x.model.model import Model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> Model:
    return Model(name="tiny", path=str(tiny_folder), dtype="float32", context_tokens=512)


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "chosen.parquet", rows(24))
