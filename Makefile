# Everything runs from .venv, which is made on first use and again when pyproject.toml changes.
# Needs python3 (3.11 or newer) and make; the tests also need a C++ compiler. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-to-develop
FUZZ   := $(VENV)/.ready-to-fuzz
STATE  ?= .state
# Workers for the tests: as many as the machine has processors.
JOBS   ?= auto
# For the tests of the add-on: Blender as a Python module, which needs exactly this version of Python.
BLENDER_PYTHON ?= python3.11
# Minutes of fuzzing (all targets together) or chaos, and the random seed (a new one each time if empty).
MINUTES ?= 10
SEED   ?=
BLENDERS := .venv-blender-4.2/.ready .venv-blender-5.0/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast lint blender bench fuzz chaos clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)  ## make .venv with everything that is needed to run and to develop

$(READY): pyproject.toml clients/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Afanasy Pools needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments here. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./clients -e .
	@touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./clients -e '.[dev]'
	@touch $@

run: $(READY)  ## run a broker on this machine; makes everything that it needs on first use
	@$(BIN)/afpools up --state $(STATE)

test: lint  ## run all checks and all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-fast: lint  ## run the checks and the fast tests: no database server, nothing that takes seconds
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m 'not heavy'

blender: $(BLENDERS)  ## install Blender 4.2 and 5.0 (400 MB each) for the tests of the Blender add-on

.venv-blender-4.2/.ready: BPY := bpy==4.2.*
.venv-blender-5.0/.ready: BPY := bpy==5.0.1
$(BLENDERS): .venv-blender-%/.ready:
	$(BLENDER_PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile '$(BPY)'
	@touch $@

lint: $(DEV)  ## run ruff and mypy --strict, and check clients/ and tools/health.py for Python 3.7 syntax
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --violations --target=3.7- clients tools/health.py tools/afpools_tools/health.py
	$(BIN)/python -m tests.typed_plugins

bench: $(DEV)  ## measure the numbers in README.md, each next to its reference; LARGE=1: also with large databases
	$(BIN)/python -m tests.bench_broker
	@echo
	$(BIN)/python -m tests.bench_many
	@echo
	$(BIN)/python -m tests.bench_clients
	@echo
	$(BIN)/python -m tests.bench_hook
	@echo
	$(BIN)/python -m tests.bench_masks
	@echo
	$(BIN)/python -m tests.bench_growth $(if $(LARGE),--large)
	@echo
	$(BIN)/python -m tests.bench_attacks
	@echo
	$(BIN)/python -m tests.bench_live

$(FUZZ): $(DEV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./clients -e '.[dev,fuzz]' || \
	  echo "atheris cannot be installed here: inputs are mutated without coverage feedback."
	@touch $@

fuzz: $(FUZZ)  ## send millions of bad inputs to everything that parses: MINUTES=10 SEED=
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos: $(DEV)  ## run real brokers under faults and attacks: MINUTES=10 SEED= FAULTS=, more in docs/testing.md
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(STORE),--store $(STORE)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(MEMORY),--memory $(MEMORY)) $(if $(MARKDOWN),--markdown $(MARKDOWN)) $(if $(KEEP),--keep $(KEEP))

clean:  ## remove everything that make built; keys and pools in $(STATE) stay
	rm -rf $(VENV) .venv-blender-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
