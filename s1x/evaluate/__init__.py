"""The evaluate stage: a model answers a benchmark under every budget of a curve, in one pass."""
