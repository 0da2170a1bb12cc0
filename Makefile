# SPDX-License-Identifier: GPL-2.0-only
# Every target sets up what it needs first. `make help` lists them.

# -I: of Python's own variables, such as PYTHONPATH, none counts.
PYTHON_I := .venv/bin/python -I -m
# From the command line only: the name is one that a shell may export for something else.
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help setup test-kernel test test-unit lint bench proofs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo "  ARGS=... goes to the command (of make test, to the tests with a kernel):"
	@echo "    make test-kernel ARGS='--series none -k size'"

setup: ## Install Debian packages and .venv; takes under a second where they are there
	@flock .setup.lock scripts/setup.sh

test-kernel: setup ## Apply the series, build the kernel, run its selftests in guests
	@.venv/bin/harness run $(ARGS)

test: setup lint ## Everything that CI checks: lint, types, and all tests with a real kernel
	$(PYTHON_I) pytest -m unit -n auto
	$(PYTHON_I) pytest -m "kernel and not proof" --durations=30 $(ARGS)

test-unit: setup ## Only the tests that need no kernel; takes under a minute
	$(PYTHON_I) pytest -m unit -n auto $(ARGS)

lint: setup ## Style and types
	$(PYTHON_I) ruff check .
	$(PYTHON_I) ruff format --check .
	$(PYTHON_I) mypy

bench: setup ## Measure guests and turn-around times
	@.venv/bin/harness bench guest $(ARGS)

proofs: setup ## What takes too long for every change: all breaks, each patch, debug kernels, fuzzing
	$(PYTHON_I) pytest -m proof $(ARGS)

clean: ## Remove .venv and runs; the cache stays
	rm -rf .venv runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
