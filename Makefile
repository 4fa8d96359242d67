# `make help` lists the targets. Everything lands in .venv and .cache; nothing else is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check
STAMP  := $(VENV)/.installed
TOOLS  := $(VENV)/.tools
# Tests run in so many processes; much of them is waiting for servers to start and to be killed.
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup serve test check format bench soak doctor clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Quire needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) -e .
	@touch $@

$(TOOLS): $(STAMP)
	@echo "Setting up what tests and checks need (once; some minutes)"
	@# torch first, and alone: what needs it would bring gigabytes of CUDA along.
	@$(PIP) torch==2.13.0
	@$(PIP) -e . --group dev
	@touch $@

setup: $(TOOLS) ## virtual environment and dependencies, with those of tests and checks

serve: $(STAMP) ## set up what is missing, then serve on http://127.0.0.1:8087
	@$(BIN)/quire weights || echo "Quire serves without them; it embeds nothing until \`quire weights\` succeeds." >&2
	@exec $(BIN)/quire serve

test: $(TOOLS) ## the whole test suite; real servers where they can be had
	@.ci/qdrant >/dev/null || echo "No Qdrant executable; its half is skipped." >&2
	@$(BIN)/quire weights
	$(BIN)/python -m pytest -m 'not soak' -n $(JOBS) --dist loadfile \
		--no-loadscope-reorder --durations=15

check: $(TOOLS) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TOOLS) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(TOOLS) ## the benchmarks, as tables
	@.ci/qdrant >/dev/null
	$(BIN)/python -m tests.bench

soak: $(TOOLS) ## the long runs: hundreds of kills, long state machines
	@.ci/qdrant >/dev/null
	$(BIN)/python -m pytest -m soak -p no:cacheprovider --timeout=7200

doctor: $(STAMP) ## what is configured and whether each part answers
	@$(BIN)/quire doctor

clean: ## remove the virtual environment and caches; data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
