"""Training on one device: the laptop's CPU, or one GPU."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option
from s1x.train.settings import TrainSettings


@option("train", "single_device")
@dataclass(frozen=True)
class SingleDevice(TrainSettings):
    """All weights on one device; a killed run goes on bit by bit as if it had not been (CPU)."""
