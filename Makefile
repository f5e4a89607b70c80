# make demo | test | check | bench | clean. Each makes and fills .venv when it has to.
# CPU-only torch by default; TORCH=cuda takes the package registry's build for NVIDIA GPUs, and TORCH=cu126 (or the like)
# that of an index of PyTorch's, for older drivers.

PYTHON ?= python3.11
TORCH ?= cpu
TORCH_VERSION = 2.13.0
TORCH_INDEX = https://download.pytorch.org/whl/cpu
INDEXES = https://download.pytorch.org/whl
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: demo test check bench clean

# For a GPU: says what it found first, and ends there where torch sees none.
demo: .venv/.filled
ifneq ($(TORCH),cpu)
	$(BIN)/xlwh devices --device cuda
endif
	$(BIN)/xlwh demo

# Files of tests are shared out among the cores, in order: the long ones of tests/e2e come first.
test: .venv/.filled
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: .venv/.filled
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.filled
	$(BIN)/python tests/benchmarks/run.py

clean:
	rm -rf .venv

# torch comes first and alone: asked for by another package, pip would take the registry's build with gigabytes of
# CUDA libraries. Where the CPU index cannot be reached, pip takes what it finds elsewhere.
.venv/.filled: pyproject.toml constraints.txt .venv/.torch-$(TORCH)
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

# Another build has the same version to pip, so it is removed first.
.venv/.torch-$(TORCH):
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if ls .venv/.torch-* >/dev/null 2>&1 || test $(TORCH) != cpu; then $(BIN)/python -m pip uninstall --quiet --yes torch; fi
	rm -f .venv/.torch-*
ifeq ($(TORCH),cpu)
	$(PIP) --no-deps --retries 0 --timeout 15 --extra-index-url $(TORCH_INDEX) torch==$(TORCH_VERSION)
else ifneq ($(TORCH),cuda)
	$(PIP) --index-url $(INDEXES)/$(TORCH) torch==$(TORCH_VERSION)
endif
	touch $@
