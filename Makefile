# `make train` and `make test` need only Python 3.11+ and make: each sets up .venv first. TF=2.19.1 takes that release of
# TensorFlow, the last one for TPUs; BOUNDS=lower takes the oldest releases that setup.cfg allows. Each has an environment
# of its own.
PYTHON ?= python3
TF ?=
BOUNDS ?=
VENV := .venv$(addprefix -,$(or $(TF),$(BOUNDS)))
BIN := $(VENV)/bin
COVERAGE := $(VENV)/coverage.json
RUN ?= runs/quickstart
# Test files whose code under test is NumPy and pyarrow alone.
QUICK := tests/data tests/metrics/test_*auc*.py tests/metrics/test_pointwise.py tests/sources/test_frames.py tests/sources/test_raw_csv.py \
	tests/inputs/test_moments.py tests/inputs/test_quantiles*.py tests/test_files.py tests/test_locks.py tests/trainers/config \
	tests/trainers/health/test_d*.py tests/trainers/health/test_verdict.py tests/trainers/training/test_check.py
RAW ?= $(or $(TFSTABLE_KUAIRAND_RAW),../shared/data/kuairand-pure-slice)

BENCHES := bench bench-kuairand bench-calibration bench-doctor bench-ids bench-initialisation bench-intrinsic \
	bench-numbers bench-stability bench-onset bench-clippy-tasks bench-treatments bench-reproducibility bench-rezero \
	bench-surface bench-serving bench-throughput bench-rank bench-counters bench-metrics bench-forgetting bench-lists \
	bench-delayed bench-penalties bench-architectures bench-explain bench-score bench-scaling bench-history bench-memory \
	bench-optimizers bench-din bench-layers

.PHONY: train quick test test-all install docs lint laws lint-docker format clean bench-all $(BENCHES)

train: install  ## Simulate a log, train, evaluate, export: the whole road.
	$(BIN)/tfstable train --config configs/quickstart.yaml --model-dir $(RUN)

quick: install  ## The tests that do not import TensorFlow; under 30 s.
	$(BIN)/pytest --without-tensorflow -m "not slow" $(QUICK)

# In two processes, each test file in one of them. Processes that a test starts do not count in coverage.
# The second command prints and judges coverage: in one command, slipcover 1.1 judges the sum of both, but prints 0%.
test: laws
	$(BIN)/python -m slipcover --source tfstable,trainers --json --out $(COVERAGE) -m pytest -m "not slow" -n 2 --dist loadfile
	$(BIN)/python -m slipcover --merge $(COVERAGE) --out $(COVERAGE) --skip-covered --fail-under 92

test-all: $(VENV)/.spark  ## What takes long: kills, workers, XLA, Spark; then all short tests on the oldest releases allowed.
	$(BIN)/pytest -m slow
	$(MAKE) test BOUNDS=lower

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tfstable needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PYTHON) tests/lower_bounds.py > $(VENV)/lower.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' $(addprefix tensorflow==,$(TF)) \
		$(if $(BOUNDS),--constraint $(VENV)/lower.txt)
	touch $@

lint: laws  ## All that is checked without running the programs; the rooms without TensorFlow by importing them.
	$(BIN)/pytest tests/test_rooms.py

laws: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(if $(BOUNDS),,$(BIN)/mypy)  # Against the newest stubs alone: old ones know less.

docs: $(VENV)/.docs  ## The site in build/site; a warning is an error. NO_MKDOCS_2_WARNING hides an announcement.
	NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mkdocs build

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs]'
	touch $@

# Spark needs Java 17 or newer.
$(VENV)/.spark: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,spark]'
	touch $@

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

bench-all: $(BENCHES)

bench-kuairand: $(VENV)/.peers  ## Quality: beside gradient-boosted trees.
	$(BIN)/python -m benchmarks.kuairand --raw $(RAW) --ablation

bench-calibration: install  ## Predicted over observed, before the maps of `calibrate` and after.
	$(BIN)/python -m benchmarks.calibration --raw $(RAW)

bench-doctor: install  ## The doctor on healthy runs, and its page of a run with planted faults.
	$(BIN)/python -m benchmarks.doctor --raw $(RAW)

bench-ids: install  ## Ids that come and go, beside hashing and a fixed vocabulary.
	$(BIN)/python -m benchmarks.ids

bench-initialisation: $(VENV)/.peers  ## Initial kernels: the depth that still trains, and the jump of the first steps.
	$(BIN)/python -m benchmarks.initialisation --raw $(RAW)

bench-intrinsic: install  ## SGD with decay on scale-invariant layers: learning rate times decay is what counts.
	$(BIN)/python -m benchmarks.intrinsic_rate

bench-numbers: $(VENV)/.peers  ## Numbers of known effects, beside gradient-boosted trees.
	$(BIN)/python -m benchmarks.numbers

bench-stability: install
	$(BIN)/python -m benchmarks.stability --raw $(RAW)

bench-onset: install  ## Divergence in mid-training: who survives, what precedes it, whether recovery saves the run.
	$(BIN)/python -m benchmarks.onset

bench-clippy-tasks: install  ## A task whose labels break for a day, and what becomes of the others.
	$(BIN)/python -m benchmarks.clippy_tasks

bench-treatments: install  ## Rules and clippings beside plain Adagrad: bytes, time of a step, AUC.
	$(BIN)/python -m benchmarks.treatments --raw $(RAW)

bench-reproducibility: install
	$(BIN)/python -m benchmarks.reproducibility --raw $(RAW)

bench-rezero: $(VENV)/.peers  ## Deep transformers and a residual network of convolutions, with ReZero and without.
	$(BIN)/python -m benchmarks.rezero_transformers
	$(BIN)/python -m benchmarks.rezero_convolution

bench-surface: $(VENV)/.peers  ## The loss along two directions, from ReLU to very wide SmeLU.
	$(BIN)/python -m benchmarks.loss_surface

bench-serving: $(VENV)/.peers
	$(BIN)/python -m benchmarks.serving --raw $(RAW)

bench-throughput: install
	$(BIN)/python -m benchmarks.throughput --raw $(RAW)

bench-rank: install  ## `rank` with histories, beside the same recipe without.
	$(BIN)/python -m benchmarks.rank_histories --raw $(RAW)

bench-counters: $(VENV)/.peers  ## Input with ten counters, beside the training step.
	$(BIN)/python -m benchmarks.counters --raw $(RAW)

bench-metrics: install  ## What the metrics of a day cost, beside one AUC.
	$(BIN)/python -m benchmarks.metrics_cost

bench-forgetting: install  ## Adagrad's accumulators that forget, when tastes change and when they do not.
	$(BIN)/python -m benchmarks.forgetting --raw $(RAW)

bench-lists: install  ## Losses over lists, beside cross-entropy.
	$(BIN)/python -m benchmarks.list_losses --raw $(RAW)

bench-delayed: install  ## Labels that come late: waiting, ignoring the delay, fresh labels.
	$(BIN)/python -m benchmarks.delayed

bench-penalties: install  ## Noise, gradient penalties, adversarial training, flooding, beside none.
	$(BIN)/python -m benchmarks.penalties --raw $(RAW)

bench-architectures: $(VENV)/.peers  ## Experts, products of tasks and loss weights, beside a shared bottom.
	$(BIN)/python -m benchmarks.architectures --raw $(RAW)

bench-explain: install  ## Importance of features, beside columns of pure noise.
	$(BIN)/python -m benchmarks.explain

bench-score: install  ## Weights of the tasks in the score, beside the best that there are.
	$(BIN)/python -m benchmarks.score

bench-scaling: install
	$(BIN)/python -m benchmarks.scaling

bench-history: install
	$(BIN)/python -m benchmarks.history

bench-memory: install
	$(BIN)/python -m benchmarks.memory

bench-optimizers: $(VENV)/.peers
	$(BIN)/python -m benchmarks.optimizers

bench-din: $(VENV)/.peers  ## Target attention over histories, beside PyTorch.
	$(BIN)/python -m benchmarks.din

bench-layers: $(VENV)/.peers
	$(BIN)/python -m benchmarks.layers_speed
	$(BIN)/python -m benchmarks.jacobian
	$(BIN)/python -m benchmarks.rezero_depth
	$(BIN)/python -m benchmarks.rezero_10000

$(VENV)/.peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,peers]'
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .mypy_cache
