# `make train` and `make test` need only Python 3.11+ and make: each sets up .venv first. TF=2.19.1 takes that release of
# TensorFlow, in an environment of its own.
PYTHON ?= python3
TF ?=
VENV := .venv$(addprefix -,$(TF))
BIN := $(VENV)/bin
RUN ?= runs/quickstart
# Test files whose code under test is NumPy and pyarrow alone.
QUICK := tests/data tests/metrics/test_*auc*.py tests/metrics/test_pointwise.py tests/sources \
	tests/inputs/test_moments.py tests/inputs/test_quantiles*.py tests/test_files.py tests/test_locks.py tests/trainers/config \
	tests/trainers/health/test_d*.py tests/trainers/health/test_verdict.py tests/trainers/training/test_check.py
RAW ?= $(or $(TFSTABLE_KUAIRAND_RAW),../shared/data/kuairand-pure-slice)

.PHONY: train quick test test-all install lint lint-docker format clean bench bench-all bench-kuairand bench-memory \
	bench-numbers bench-throughput bench-scaling bench-serving bench-optimizers bench-layers bench-stability bench-reproducibility

train: install  ## Simulate a log, train, evaluate, export: the whole road.
	$(BIN)/tfstable train --config configs/quickstart.yaml --model-dir $(RUN)

quick: install  ## The tests that do not import TensorFlow; under 30 s.
	$(BIN)/pytest --without-tensorflow -m "not slow" $(QUICK)

# Of tests that start processes of their own, coverage counts this process alone.
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m slipcover --source tfstable,trainers --skip-covered --fail-under 92 -m pytest -m "not slow"

test-all: install  ## What takes long: kills, workers, the XLA matrix; then all short tests on the TensorFlow of TPUs.
	$(BIN)/pytest -m slow
	$(MAKE) test TF=2.19.1

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tfstable needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' $(addprefix tensorflow==,$(TF))
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Linters from npm; `make test-all` has them too.
lint-docker:
	npx --yes dockerfilelint@1.8.0 docker/Dockerfile docker/Dockerfile.tpu
	npx --yes dclint@3.1.0 --quiet docker/compose.yaml

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The benchmarks write benchmarks/results/; each line is one command, and the heading of its file says what it shows.
bench: $(VENV)/.peers  ## Speed: beside other frameworks, beside the machine's limit, and as things grow.
	$(BIN)/python -m benchmarks.speed --raw $(RAW)

bench-all: bench bench-throughput bench-scaling bench-serving bench-optimizers bench-layers bench-kuairand \
	bench-memory bench-numbers bench-stability bench-reproducibility

bench-kuairand: install
	$(BIN)/python -m benchmarks.kuairand --raw $(RAW)

bench-numbers: $(VENV)/.peers  ## Numbers of known effects, beside gradient-boosted trees.
	$(BIN)/python -m benchmarks.numbers

bench-stability: install
	$(BIN)/python -m benchmarks.stability --raw $(RAW)

bench-reproducibility: install
	$(BIN)/python -m benchmarks.reproducibility --raw $(RAW)

bench-serving: $(VENV)/.peers
	$(BIN)/python -m benchmarks.serving --raw $(RAW)

bench-throughput: install
	$(BIN)/python -m benchmarks.throughput --raw $(RAW)

bench-scaling: install
	$(BIN)/python -m benchmarks.scaling

bench-memory: install
	$(BIN)/python -m benchmarks.memory

bench-optimizers: $(VENV)/.peers
	$(BIN)/python -m benchmarks.optimizers

bench-layers: $(VENV)/.peers
	$(BIN)/python -m benchmarks.layers_speed
	$(BIN)/python -m benchmarks.jacobian
	$(BIN)/python -m benchmarks.rezero_depth
	$(BIN)/python -m benchmarks.rezero_10000

$(VENV)/.peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,peers]'
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .ruff_cache
