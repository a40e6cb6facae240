"""Metrics of test-time scaling, computed from evaluation rows only (paper, section 3.2)."""

from s1x.metrics.compare import difference, differences
from s1x.metrics.curve import curve, curves
from s1x.metrics.flips import flips, flips_between
from s1x.metrics.results import Curve, Difference, Estimate, Flips, Point, SampleCount
from s1x.metrics.samples import pass_at_k, sample_counts
from s1x.metrics.scaling import control, performance, slope_per_doubling, slope_per_thousand
from s1x.metrics.table import Cell, cells, read

__all__ = [
    "Cell",
    "Curve",
    "Difference",
    "Estimate",
    "Flips",
    "Point",
    "SampleCount",
    "cells",
    "control",
    "curve",
    "curves",
    "difference",
    "differences",
    "flips",
    "flips_between",
    "pass_at_k",
    "performance",
    "read",
    "sample_counts",
    "slope_per_doubling",
    "slope_per_thousand",
]
