# make demo | test | check | bench | clean. Each makes and fills .venv when it has to.
# CPU-only torch by default; TORCH=cuda takes the package registry's build for NVIDIA GPUs.

PYTHON ?= python3.11
TORCH ?= cpu
TORCH_VERSION = 2.13.0
TORCH_INDEX = https://download.pytorch.org/whl/cpu
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: demo test check bench clean

demo: .venv/.filled
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
.venv/.filled: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	$(PIP) --no-deps --retries 0 --timeout 15 --extra-index-url $(TORCH_INDEX) torch==$(TORCH_VERSION)
endif
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@
