"""s1x: how accuracy grows with thinking tokens (test-time scaling, after arXiv 2501.19393)."""

__version__ = "0.1.0"
