# s1x: `make` explains the targets. Every target sets up what it needs; a second call sets up nothing.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
PY     := $(BIN)/python
ARGS   ?=
TORCH  := 2.13.0
# PyTorch's own index of CPU builds, asked only where the configured index has no CPU build
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# and of builds for CUDA 13.0, which need driver 580 or newer
TORCH_CUDA_INDEX ?= https://download.pytorch.org/whl/cu130
# two OpenMP threads beside another busy process can stall when they spin
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

HEAVY := not slow and not gpu and not network and not vllm and not deepspeed and not slurm and not browser and not clients and not ray

.DEFAULT_GOAL := help
.PHONY: help run test test-all check setup setup-test setup-all setup-gpu system lock figures docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## the main job at laptop scale: python run.py +experiment=s1k (more by ARGS="...")
	$(PY) run.py +experiment=s1k $(ARGS)

test: setup-test ## the tests that need nothing big (at most 10 minutes on two cores)
	$(PY) -m pytest -n 2 --dist loadfile -m "$(HEAVY)" $(ARGS)

test-all: setup-all system ## every test that this machine can run: vLLM, two ranks, Slurm, Ray, Chromium
	$(PY) -m pytest -m "not gpu and not network" $(ARGS)

check: setup-all ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini benchmarks/*.py benchmarks/gpu/*.py

setup: $(VENV)/.core ## a virtual environment with what `run` needs, from the lock
setup-test: $(VENV)/.test ## and what `test` needs
setup-all: $(VENV)/.all ## and the extras: vLLM (CPU build), DeepSpeed, SmolLM2, trackers, launchers

setup-gpu: $(VENV)/.gpu ## for NVIDIA GPUs, also on a login node without one: CUDA's torch, vLLM, DeepSpeed

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "s1x needs Python 3.11 or newer; set PYTHON=python3.12, say"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first: with a GPU the default build, without one the CPU build (no gigabytes of CUDA)
$(VENV)/.core: requirements/core.txt pyproject.toml | $(PY)
	@echo "Setting up (once)..."
	@if nvidia-smi >/dev/null 2>&1 || [ "$$(uname -s)" != Linux ]; then \
	  $(PY) -m pip install -q torch==$(TORCH); \
	else \
	  $(PY) -m pip install -q torch==$(TORCH)+cpu 2>/dev/null \
	  || $(PY) -m pip install -q torch==$(TORCH) --index-url $(TORCH_CPU_INDEX); \
	fi
	$(PY) -m pip install -q --no-deps -r requirements/core.txt
	$(PY) -m pip install -q --no-deps -e .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.core
	$(PY) -m pip install -q --no-deps -r requirements/test.txt
	@touch $@

$(VENV)/.all: requirements/all.txt $(VENV)/.test
	$(PY) -m pip install -q --no-deps -r requirements/all.txt
	@touch $@

# its own lock, whole: nothing of the other set-ups is asked, least of all a torch without CUDA
$(VENV)/.gpu: requirements/gpu.txt pyproject.toml | $(PY)
	@echo "Setting up for GPUs (once; several GB)..."
	$(PY) -m pip install -q --no-deps --force-reinstall torch==$(TORCH) --index-url $(TORCH_CUDA_INDEX)
	$(PY) -m pip install -q --no-deps -r requirements/gpu.txt
	$(PY) -m pip install -q --no-deps -e .
	@$(PY) -c 'import torch; assert torch.version.cuda, torch.__version__; print("torch", torch.__version__)' \
	  || { echo "this torch is built without CUDA; set TORCH_CUDA_INDEX to an index of CUDA builds"; exit 2; }
	@command -v $${CC:-gcc} >/dev/null || command -v clang >/dev/null \
	  || echo "note: vLLM's kernels (Triton) want a C compiler and Python's headers where they run"
	@touch $@

system: ## Chromium and a one-node Slurm from the distribution, where apt-get can install them
	@bash tests/system_packages.sh

lock: setup ## resolves anew and writes requirements/*.txt
	$(PY) requirements/lock.py

figures: setup ## every sweep in full, into docs/figures
	$(PY) sweeps/figures.py $(ARGS)

docs: setup-all ## the documentation site, into outputs/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean: ## removes the virtual environment and caches; outputs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
