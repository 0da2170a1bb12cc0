# SPDX-License-Identifier: GPL-2.0-only
# Every target sets up what it needs first. `make help` lists them.

BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test-kernel test test-unit lint bench proofs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo "  ARGS=... goes to the command (of make test, to the tests with a kernel):"
	@echo "    make test-kernel ARGS='--series none -k size'"

setup: ## Install Debian packages and .venv; takes under a second where they are there
	@flock .setup.lock scripts/setup.sh

test-kernel: setup ## Apply the series, build the kernel, run its selftests in guests
	@$(BIN)/harness run $(ARGS)

test: setup lint ## Everything that CI checks: lint, types, and all tests with a real kernel
	$(BIN)/pytest -m unit -n auto
	$(BIN)/pytest -m "kernel and not proof" --durations=30 $(ARGS)

test-unit: setup ## Only the tests that need no kernel; takes under a minute
	$(BIN)/pytest -m unit -n auto $(ARGS)

lint: setup ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## Measure guests and turn-around times
	@$(BIN)/harness bench guest $(ARGS)

proofs: setup ## What takes too long for every change: all breaks, each patch, debug kernels, fuzzing
	$(BIN)/pytest -m proof $(ARGS)

clean: ## Remove .venv and runs; the cache stays
	rm -rf .venv runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
