# Everything a newcomer types. Paths are relative on purpose: GNU make splits absolute ones at spaces.
.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint format clean
# One recipe at a time: `make -j lint test` must not set up the environment twice.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?=
ARGS ?=
BIN := .venv/bin

help: ## show this list
	@echo "Spotlight Pipelines"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done
	@echo
	@echo "  Every target sets up .venv first, and again only when the pinned requirements change."
	@echo "  Choose an interpreter with PYTHON=..., pass options on with ARGS='...'."

setup: ## create .venv with the pinned requirements (Python 3.11 or newer)
	@PYTHON='$(PYTHON)' sh scripts/setup.sh

demo: setup ## three NPOs from their APIs to the event stream, checked; then stop
	@$(BIN)/python -m include.sandbox.demo demo $(ARGS)

run: setup ## the local stack and Airflow, until Ctrl-C; data stays in .local/run
	@$(BIN)/python -m include.sandbox.demo run $(ARGS)

test: setup ## every test, on real servers: on two workers, then those that need the machine to themselves
ifeq ($(ARGS),)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not e2e and not alone'
	@$(BIN)/python -m pytest -m 'e2e or alone'
else
	@$(BIN)/python -m pytest $(ARGS)
endif

lint: setup ## format, lint, types, image and compose files, airflow_settings.yaml
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.override.yml
	$(BIN)/python -m include.sandbox.airflow.settings_file airflow_settings.yaml

format: setup ## put every file into the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## stop what make run or make demo left behind, then delete .venv and .local
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m include.sandbox.demo stop; fi
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis
