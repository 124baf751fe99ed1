# make demo       set up once, then the whole pipeline on the embedded default (15 minutes on 2 CPU cores)
# make demo-full  the longer run (35 minutes)
# make methods    every method on the toy world, side by side (WORK/methods; STEPS for tiny's 900; resumable)
# make test       lint, types, import layers and tests
# make test-slow  the tests that make test leaves out: every recipe at every ZeRO stage, benchmarks, mteb where it is there
# make test-slurm  training and the whole chain on a real Slurm of two nodes, with requeue, preemption and a lost node
# make drill     seeded faults over the smallest toy pipeline, each held against an unbroken run (WORK/drill)
# make mutants    break each oracle's subject in turn and show that its test goes red
# make clean      remove what these made: .venv, work, caches
#
# PYTHON       the Python to use, 3.11 to 3.13        make demo PYTHON=python3.12
# TORCH_INDEX  where torch comes from: the address of PyTorch's own index of CPU builds saves gigabytes without a GPU;
#              left empty, pip's usual index serves the CUDA build

PYTHON ?= python3
TORCH_INDEX ?=
WORK ?= work
PYTEST_ARGS ?=
STEPS ?= 600

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup demo demo-full methods test test-slow test-slurm lint drill mutants clean

VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python -m
PYTHONS := $(PYTHON) $(if $(filter file default undefined,$(origin PYTHON)),python3.13 python3.12 python3.11)
NEEDED_GB := 5

# Two cores are shared by the training step and the process that prepares batches.
CORES := $(shell nproc 2>/dev/null || echo 2)
export OMP_NUM_THREADS ?= $(CORES)
# Waiting threads sleep: spinning ones would take the core that the other process needs.
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TRANSFORMERS_OFFLINE := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Two ranks of one thread take three quarters of the time of one rank of two threads (docs/benchmarks.md).
RANKS := 1
ifeq ($(wildcard /dev/nvidiactl),)
export DS_ACCELERATOR := cpu
RANKS := $(if $(filter 1,$(CORES)),1,2)
endif

demo: setup
	$(RUN) launchers.cli run --recipe tiny --work $(WORK)/tiny --processes $(RANKS)

demo-full: setup
	$(RUN) launchers.cli run --recipe tiny_full --work $(WORK)/tiny_full --processes $(RANKS)

methods: setup
	$(RUN) benchmarks.methods --work $(WORK)/methods --steps $(STEPS) --processes $(RANKS)

# A process for each core, each with one thread; a file's tests stay together, since they share what they prepare.
test: export OMP_NUM_THREADS = 1
test: setup lint
	$(RUN) pytest -p tests.marker_counts -n $(CORES) --dist loadfile --durations=10 $(PYTEST_ARGS)

test-slow: setup
	$(RUN) pytest -p tests.marker_counts -m "slow and not slurm" $(PYTEST_ARGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports --no-logo

# A cluster of two nodes on this machine; its programs are installed where root and apt are there.
test-slurm: setup
	@command -v slurmctld >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  || { echo "make test-slurm: needs slurmctld, slurmd, slurm-client and munge" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge iproute2 procps; }
	REQUIRE=slurm $(RUN) pytest -p tests.marker_counts -m slurm $(PYTEST_ARGS) tests/slurm

drill: setup
	$(RUN) launchers.cli drill --work $(WORK)/drill

mutants: setup
	$(RUN) tests.mutants

setup: $(READY)

# Every check is made before anything is downloaded.
$(READY): constraints.txt setup.cfg pyproject.toml
	@say() { echo "make setup: $$*" >&2; exit 1; }; \
	for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    python=$$candidate; break; fi; done; \
	[ -n "$${python:-}" ] || say "needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1 || true); name one: make setup PYTHON=python3.12"; \
	"$$python" -c 'import venv, ensurepip' 2>/dev/null || say "$$python has no venv module; install it (Debian and Ubuntu: apt install python3-venv)"; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	[ "$$free" -ge $(NEEDED_GB) ] || say "needs $(NEEDED_GB) GB of free disk here, and there are $$free GB"; \
	echo "make setup: $$("$$python" --version), installing into $(VENV) (a few minutes, once)"; \
	"$$python" -m venv $(VENV)
	@# torch first: deepspeed's source distribution looks for it when it is built.
	$(RUN) pip install --quiet -c constraints.txt setuptools numpy
	$(RUN) pip install --quiet $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX),-c constraints.txt) $$(grep '^torch==' constraints.txt)
	$(RUN) pip install --quiet --no-build-isolation -c constraints.txt -e '.[st,test]'
	@touch $@

clean:
	rm -rf $(VENV) $(WORK) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
