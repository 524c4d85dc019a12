# Everything here works on a fresh clone with Python 3.11+, make and pip.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# An exact version takes the CPU build where the registry has one; a range would pull several GB of CUDA packages.
TORCH  ?= torch==2.13.0
TRITON ?= triton==3.7.1
# Tests run side by side, a file at a time, each with one thread: two processes with two threads each would wait for each other.
JOBS   ?= 2

.PHONY: setup demo test test-real check bench parity torture truth kernels cluster cluster-ci gpu smollm2 app snapshots clean

setup: $(VENV)/.dev

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.core                        ## estimate the LLC of the embedded model, headless
	$(BIN)/interp-tui --batch examples/manifests/llc.toml

app: $(VENV)/.core                         ## open the workbench
	$(BIN)/interp-tui

test: $(VENV)/.dev                         ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not real and not gpu" -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-real: $(VENV)/.dev smollm2            ## the tests and manifests that need a real model
	$(BIN)/python -m pytest -m real

check: $(VENV)/.dev                        ## style, types, architecture, and no package with a known hole
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/audit.py

parity: $(VENV)/.dev                       ## beside the peers: rows of the migration page, their tests, other libraries' objects, pairs of extras
	$(BIN)/python -m tests.parity

torture: $(VENV)/.dev                      ## hard tests: fuzzed manifests, kills, full disks, hostile models and text, 10,000 keys; about an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.torture

truth: $(VENV)/.dev                        ## known answers, many seeds: coverage of error bars, false positives of controls
	$(BIN)/python -m tests.truth

kernels: $(VENV)/.dev .kernels             ## Triton's kernels by its interpreter and its compiler, without a GPU; a few CPU minutes
	OMP_NUM_THREADS=1 PYTHONPATH=.kernels $(BIN)/python -m pytest tests/kernels

# 700 MB that builds of torch for CPUs do without
.kernels:
	$(BIN)/python -m pip install --quiet --no-deps --target $@ $(TRITON)

cluster: $(VENV)/.dev                      ## runs on a real Slurm of two nodes on this machine (root, Debian's packages)
	INTERP_TUI_CLUSTER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster

cluster-ci: $(VENV)/.dev                   ## the part of `cluster` that mostly waits; says why where there is no Slurm
	tests/cluster/ci.sh $(BIN)/python

smollm2: $(VENV)/.dev                      ## fetch SmolLM2-135M-Instruct (GGUF) into models/
	$(BIN)/python examples/fetch_smollm2.py models

bench: $(VENV)/.dev                        ## speed, side by side with devinterp in an environment of its own
	$(BIN)/python -m tests.bench

gpu: $(VENV)/.dev                          ## what only an NVIDIA GPU can show, in ten minutes: tests, kills, replays, a step's profile, benches
	$(BIN)/python -m tests.gpu

snapshots: $(VENV)/.dev                    ## accept the screens as they are now
	$(BIN)/python -m pytest tests/tui --snapshot-update

clean:
	rm -rf $(VENV) .bench .kernels .parity .mypy_cache .ruff_cache .pytest_cache
