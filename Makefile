# SPDX-License-Identifier: GPL-2.0-only
# Every target sets up what it needs first. `make help` lists them.

# -I: of Python's own variables, such as PYTHONPATH, none counts.
PYTHON_I := .venv/bin/python -I -m
# From the command line only: the name is one that a shell may export for something else.
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help setup test-kernel test-series test test-unit test-browser test-extra test-system lint bench migration-study proofs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo "  ARGS=... goes to the command (of make test, to the tests with a kernel):"
	@echo "    make test-kernel ARGS='--series none -k size'"

setup: ## Install Debian packages and .venv; takes under a second where they are there
	@flock .setup.lock scripts/setup.sh

test-kernel: setup ## Apply the series, build the kernel, run its selftests in guests
	@.venv/bin/harness run $(ARGS)

test-series: setup ## Run the suites on the base and after each patch; name the patch that breaks a test
	@.venv/bin/harness matrix $(ARGS)

test: setup lint ## Everything that CI checks: lint, types, and all tests with a real kernel
	@flock .setup.lock scripts/setup.sh browser
	@flock .setup.lock scripts/setup.sh extra
	@flock .setup.lock scripts/setup.sh sshd
	$(PYTHON_I) pytest -m "(unit or browser or extra) and not kernel" -n auto
	@$(MAKE) --no-print-directory test-system
	$(PYTHON_I) pytest -m "kernel and not proof" $(THREE) --durations=30 $(ARGS)

# Many tests with a kernel wait for one that hangs; meanwhile the other workers have the processors.
THREE := -n 3 --dist loadfile --no-loadscope-reorder

A_RUN := tests/run/test_main_job.py::test_the_projects_own_series_ends_as_expected
# What point releases of one Python change: processes, event loops, archives.  Another minor release
# may change all.
SYSTEM_TESTS :=
NEAR_THE_SYSTEM := tests/guest tests/lab tests/proc tests/test_store.py \
	$(addprefix tests/run/test_,builder.py damage.py fleet.py shorten.py survey.py) \
	$(addprefix tests/source/test_,debian.py download.py interrupted.py)

test-system: ## Tests with the Python of the distribution, where .venv has another version
	@flock .setup.lock scripts/setup.sh system
	@if [ ! -d .venv-system ]; then echo "test-system: .venv has that Python"; exit 0; fi; \
	tests="$(SYSTEM_TESTS)"; \
	minor() { "$$1/bin/python" -I -c 'import sys; print(*sys.version_info[:2])'; }; \
	if [ -z "$$tests" ]; then \
		tests=tests; [ "$$(minor .venv)" != "$$(minor .venv-system)" ] || tests="$(NEAR_THE_SYSTEM)"; \
	fi; \
	set -x; \
	.venv-system/bin/python -I -m pytest -p no:cacheprovider -m unit -n auto --ignore=tests/ktap/test_fuzz.py $$tests && \
	.venv-system/bin/python -I -m pytest -p no:cacheprovider $(A_RUN)

test-unit: setup ## The tests to run after each edit: without a kernel, and without what takes long
	$(PYTHON_I) pytest -m "unit and not slow" -n auto $(ARGS)

test-browser: ## Tests of the HTML report in Chromium, which is installed on Debian
	@flock .setup.lock scripts/setup.sh browser
	$(PYTHON_I) pytest -m browser

test-extra: ## Documentation site, MCP server, readers of reports: with packages that no run needs
	@flock .setup.lock scripts/setup.sh extra
	$(PYTHON_I) pytest -m "extra and not kernel"

lint: setup ## Style, types, and who imports whom
	$(PYTHON_I) ruff check .
	$(PYTHON_I) ruff format --check .
	$(PYTHON_I) mypy
	.venv/bin/lint-imports --no-cache

# The first is what the others are held against.
STUDIED := mapping-flag mapping-flag-ranges ebusy-callback reference-handed-out supported off-lru \
	reference-allocated no-callback as-posted
# Those of which the cost grows in different ways, and the sizes in MiB.
GROWING := mapping-flag ebusy-callback reference-handed-out supported
SIZES := 256 1024
MEASURES := pass direct offline contig
OF_PASS := pass_time calls:compaction_alloc total:compact_zone $(addprefix pass_,scanned isolated \
	migrated refused) huge_time huge_pages
OF_DIRECT := $(addprefix direct_,time stalls success fail scanned isolated migrated refused huge_pages)
OF_RANGES := calls:alloc_migration_target $(foreach way,offline contig,$(addprefix \
	$(way)_,time free migrated refused))
any = $(subst $() $(), or ,$(strip $(1)))
COMPARE = .venv/bin/harness compare --out runs/migration-study-$(1) --variants $(2) --suite $(3) \
	-k '$(call any,$(4))' $(addprefix --metric ,$(5)) $(ARGS)
# A variant that loses a guest's data is a result (exit code 1).
TOLD = || [ $$? -eq 1 ]

migration-study: setup ## What it costs to keep private memory where it is, by variant (docs/migration.md)
	@$(call COMPARE,cost,$(STUDIED),migration_cost,$(MEASURES:%=%_private_64),$(OF_PASS) \
		$(OF_DIRECT) $(OF_RANGES)) $(TOLD)
	@$(call COMPARE,growth,$(GROWING),migration_cost,$(SIZES:%=pass_private_%),$(OF_PASS)) $(TOLD)
	@$(call COMPARE,others,mapping-flag supported,migration_cost,$(MEASURES:%=%_none) \
		$(MEASURES:%=%_mlocked_64),$(OF_PASS) $(OF_DIRECT) $(OF_RANGES)) $(TOLD)
	@$(call COMPARE,right,$(STUDIED),restrictedmem_migration,restrictedmem_migration,wall_time) $(TOLD)

bench: setup ## Measure guests and turn-around times
	@.venv/bin/python -E -s -m tools.bench $(ARGS)

proofs: setup ## What takes too long for every change: all breaks, each patch, debug kernels, fuzzing
	@flock .setup.lock scripts/setup.sh sshd
	@flock .setup.lock scripts/setup.sh extra
	$(PYTHON_I) pytest -m hypothesis --hypothesis-profile=proofs -n auto
	@$(MAKE) --no-print-directory test-system SYSTEM_TESTS=tests
	$(PYTHON_I) pytest -m proof $(ARGS)

clean: ## Remove .venv, and below runs/ what is a run that has ended; the cache stays
	@for journal in runs/*/journal.jsonl; do \
		run=$${journal%/*}; \
		if [ -f "$$journal" ] && [ ! -L "$$run" ]; then \
			flock -n "$$run" rm -rf "$$run" || echo "clean: a run is at work in $$run"; \
		fi; \
	done
	@[ ! -L runs/latest ] || [ -e runs/latest ] || rm -f runs/latest
	@[ ! -d runs ] || [ -L runs ] || rmdir --ignore-fail-on-non-empty runs
	rm -rf .venv .venv-system .mypy_cache .ruff_cache .pytest_cache .hypothesis
