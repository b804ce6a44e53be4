# Everything a newcomer runs. `make demo` and `make test` need no earlier step: both build .venv first,
# from requirements-dev.lock (every file by its hash), with uv where it is installed, else with pip.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV ?= $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
TESTS ?= tests
# Most tests wait for daemons: four at a time suit two cores.
JOBS ?= 4

.PHONY: help demo test check format bench fuzz venv lock clean \
	campaign campaign-simulation campaign-model campaign-processes campaign-networks campaign-strangers \
	campaign-fuzz campaign-mutation

help:
	@echo "make demo    two daemons with throw-away homes pair, append, conflict and converge"
	@echo "make test    the whole test suite (TESTS=path for a part of it)"
	@echo "make check   style, types, import floors, and the documents held against the code"
	@echo "make format  let ruff lay out the code"
	@echo "make bench   the budgets, measured, into docs/performance.md"
	@echo "make fuzz    look for inputs that break a parser (SECONDS=10 for each; FUZZ=target; Linux on x86-64)"
	@echo "make campaign             every long attack, one after the other (hours; docs/reliability.md)"
	@echo "make campaign-simulation  20,000 stories of whole fleets"
	@echo "make campaign-model       all states of the protocol within bounds"
	@echo "make campaign-processes   1,000 kills, failing disks, a day of work"
	@echo "make campaign-networks    bad networks between two hosts (root)"
	@echo "make campaign-strangers   ten thousand strangers at the port of a daemon that works"
	@echo "make campaign-fuzz        two hours of looking for inputs that break a parser"
	@echo "make campaign-mutation    break merging, counting and records in one place at a time (hours)"
	@echo "make lock    write the lock files anew after a change in pyproject.toml (needs uv)"

demo: venv
	$(BIN)/fleetsync demo

test: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	$(BIN)/python -m bench

SECONDS ?= 10
fuzz: venv
	$(BIN)/python -c "import atheris" 2>/dev/null || $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,\
		$(BIN)/python -m pip install --quiet) "atheris>=3,<4"
	$(BIN)/python -m tests.fuzz $(FUZZ) --seconds $(SECONDS)

campaign: campaign-simulation campaign-model campaign-processes campaign-networks campaign-strangers campaign-fuzz campaign-mutation

campaign-simulation: venv
	$(BIN)/python -m tests.simulation --seeds 0:20000 --jobs 2

campaign-model: venv
	$(BIN)/python -m tests.model

campaign-processes: venv
	$(BIN)/python -m tests.campaign.kills --kills 1000
	$(BIN)/python -m tests.campaign.disks
	$(BIN)/python -m tests.campaign.soak --minutes 10

campaign-networks: venv
	$(BIN)/python -m tests.campaign.networks

campaign-strangers: venv
	$(BIN)/python -m tests.campaign.strangers --connections 10000

campaign-fuzz:
	$(MAKE) fuzz SECONDS=180

campaign-mutation: venv
	$(BIN)/python -c "import mutmut" 2>/dev/null || $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,\
		$(BIN)/python -m pip install --quiet) "mutmut>=3.8.1,<4"
	for area in merge reconcile journal logs appending skills channels signing yaml experiences; do \
		$(BIN)/python -m tests.mutation $$area || exit; done

venv: .venv/.stamp

.venv/.stamp: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (PYTHON=/path/to/python)" >&2; exit 1; }
ifeq ($(UV),)
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
else
	test -x $(BIN)/python || $(UV) venv --quiet --clear --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
endif
	touch $@

# The hashes of all files of each version, so that one lock serves every platform and Python we support.
# Existing pins are kept; LOCKFLAGS=--upgrade moves them.
LOCK = uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(LOCKFLAGS) pyproject.toml

lock:
	$(LOCK) --output-file requirements.lock
	$(LOCK) --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
