"""s1x: how accuracy grows with thinking tokens (test-time scaling, after arXiv 2501.19393)."""

import os

# torch looks for GPUs without starting CUDA: a process that has started it cannot be forked (vLLM)
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

__version__ = "0.1.0"
