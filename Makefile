# Each target does its own set-up. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
ONLY ?=
export VENV

# Checks that need neither root, a browser, other servers nor the shared data.
QUICK := -m "not slow and not root and not netns and not browser and not servers and not data"

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup setup-dev
setup: ## Install what running thingward needs into .venv
	@tools/setup.sh run
setup-dev: ## Install what working on thingward needs into .venv
	@tools/setup.sh dev

.PHONY: up demo
up: setup ## Run the platform in the foreground: console, API, core, store, sensor
	@exec $(BIN)/thingward up $(ARGS)
demo: setup ## Run it on a simulated site (ARGS="--attack" turns one device bad)
	@exec $(BIN)/thingward demo $(ARGS)

.PHONY: check test
check: setup-dev ## Format, lint, types, import contracts, fast tests: under a minute
	@$(MAKE) --no-print-directory -k -j2 --output-sync=target check-static check-quick
test: setup-dev ## Everything: the static checks, then every test
	@static=0; $(MAKE) --no-print-directory -k -j2 --output-sync=target check-static || static=1; \
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS) || exit; \
	[ $$static = 0 ] || { echo "the tests passed, the static checks (above) did not" >&2; exit 1; }

.PHONY: check-static check-ruff check-types check-imports check-quick format
check-static: check-ruff check-types check-imports ## The static half of make check
check-ruff:
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && echo "ruff: ok"
check-types:
	@$(BIN)/mypy
check-imports:
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
check-quick: ## The fast tests alone
	@$(BIN)/pytest -q -n 2 --dist loadfile $(QUICK) $(ARGS)
format: setup-dev ## Format the code and mend what the linter can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: bench screenshots
bench: setup-dev ## Benchmarks against their peers (ONLY=sensor), into build/bench.json
	@$(BIN)/python -m tests.bench $(ONLY)
screenshots: setup-dev ## Pictures of the console, into build/screenshots
	@$(BIN)/pytest -q -m browser tests/e2e --screenshots build/screenshots $(ARGS)

.PHONY: docs wheel lock clean
docs: setup-dev ## Write docs/reference anew from the code
	@$(BIN)/python tools/reference.py
wheel: setup-dev ## Build the wheel into dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . && ls -l dist
lock: ## Write the lock files anew from pyproject.toml and package.json
	@tools/lock.sh $${PYTHON:-python3.11}
clean: ## Remove what was built here (not .venv, not your data)
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/thingward/apps/server/static/vendor
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
