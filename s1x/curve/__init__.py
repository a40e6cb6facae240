"""Test-time scaling curves from evaluation rows: accuracy, intervals, the paper's three metrics.

from s1x import curve
for found in curve.curves(curve.read([folder])):
    print(found.benchmark, [(p.setting, p.accuracy_percent) for p in found.points])
"""

from s1x.curve.allocation import Allocation, PointAllocation, allocate
from s1x.curve.behaviour import Latency, Spill, latency, spill
from s1x.curve.cells import Cell, cells, read
from s1x.curve.compare import (
    Difference,
    Flips,
    difference,
    difference_if_any,
    flips,
    flips_between,
    told_apart,
)
from s1x.curve.curves import Curve, DomainAccuracy, Point, by_domain, curve, curves
from s1x.curve.interval import Estimate, Result
from s1x.curve.replays import Replay, replays
from s1x.curve.samples import SampleCount, pass_at_k, sample_counts
from s1x.curve.scaling import control, slope

__all__ = [
    "Allocation",
    "Cell",
    "Curve",
    "Difference",
    "DomainAccuracy",
    "Estimate",
    "Flips",
    "Latency",
    "Point",
    "PointAllocation",
    "Replay",
    "Result",
    "SampleCount",
    "Spill",
    "allocate",
    "by_domain",
    "cells",
    "control",
    "curve",
    "curves",
    "difference",
    "difference_if_any",
    "flips",
    "flips_between",
    "latency",
    "pass_at_k",
    "read",
    "replays",
    "sample_counts",
    "slope",
    "spill",
    "told_apart",
]
