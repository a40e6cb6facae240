"""The evaluate stage: a model answers a benchmark under every budget of a curve, in one pass."""

from s1x.evaluate.stage import run

__all__ = ["run"]
