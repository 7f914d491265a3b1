# grug: `make demo` runs a simulated house, `make test` runs everything that CI runs.
#
# All it needs is make and Python 3.11 or newer; the rest goes into .venv. Options for the demo:
#   make demo ARGS="--offset -2000"
# Another interpreter: make PYTHON=python3.12 demo

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
CHECKED := grug tests $(wildcard bench)

.PHONY: help demo test test-fast check packages bench clean

help:
	@echo "make demo       a simulated house, steered (options: make demo ARGS=\"--offset -2000\")"
	@echo "make test       linters, types, import rules and all tests, as CI runs them"
	@echo "make test-fast  the tests that take less than a quarter of a second each"
	@echo "make check      linters, types and import rules alone"
	@echo "make bench      the measurements of bench/"
	@echo "make clean      remove .venv, caches and the demo's state"

demo: $(VENV)/installed-db
	@$(BIN)/grug demo $(ARGS)

test: packages check
	@$(BIN)/python -m pytest --numprocesses auto $(ARGS)

test-fast: $(VENV)/installed-dev
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff check --output-format concise $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

packages:
	@tests/install_packages tests/packages.txt

bench: $(VENV)/installed-dev
	@for file in bench/bench_*.py; do \
		echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || exit 1; \
	done

clean:
	@rm -rf $(VENV) demo-state .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find grug tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are renewed when the dependencies may have changed; what the tests need includes what
# the demo needs.

$(VENV)/installed-db: pyproject.toml | $(BIN)/python
	@echo "Installing grug and its embedded database into $(VENV) ..."
	@$(PIP_INSTALL) '.[db]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing grug and what its tests need into $(VENV) ..."
	@$(PIP_INSTALL) '.[dev]'
	@touch $@ $(VENV)/installed-db

# The first interpreter that is new enough and complete: Debian ships python3 without venv.
$(BIN)/python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
				2>/dev/null; then \
			echo "Creating $(VENV) with $$($$python --version) ..."; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "grug needs Python 3.11 or newer with its venv module, and found none." >&2; \
	echo "On Debian, Ubuntu or Raspberry Pi OS: sudo apt install python3-venv" >&2; \
	echo "(here: $$(python3 --version 2>/dev/null || echo 'no python3'))" >&2; \
	exit 1
