PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Notebooks run in their own folder: a relative place of the digits is one relative to here.
ifneq ($(MNIST_S7_DATA),)
export MNIST_S7_DATA := $(abspath $(MNIST_S7_DATA))
endif

# Some machines' environment forbids Python to keep what it compiled. Here, every process would compile PyTorch again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test unit lint notebooks bench clean

help: ## list what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

run: $(READY) ## execute the notebooks top to bottom into runs/, then show the iterations side by side
	@$(BIN)/python -m mnist_s7 run

# One thread for each worker: tests and training runs in parallel get more out of the cores than one after the other.
# Each worker takes whole files, as the cells of a notebook need; the notebooks come first, since they take longest.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -p no:anyio

test: lint ## lint, the generated pages, the notebooks executed again, and the unit tests
	@$(BIN)/python -m mnist_s7 readme --check
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-kernel-startup-timeout 600 --nbval-cell-timeout 14400 --durations 8 notebooks tests

unit: $(READY) ## the unit tests alone
	$(PYTEST) -p no:nbval tests

lint: $(READY) ## ruff, on the package, the tests and the notebooks; oxlint, on the page's JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint mnist_s7/page/js

notebooks: $(READY) ## train seed 1 of each iteration again: stored outputs, results and generated pages
	@$(BIN)/python -m mnist_s7 run --publish
	@$(BIN)/python -m mnist_s7 readme

bench: $(READY) ## measure seconds per epoch: this package, a baseline loop, and others
	@$(BIN)/python -m mnist_s7 bench

clean: ## remove the environment and caches; data/ and runs/ stay
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "mnist_s7 needs Python 3.10 or newer and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true): try make PYTHON=python3.12 ..."; exit 1; }
	@echo "Building .venv with $$($(PYTHON) --version): PyTorch and Jupyter, a few gigabytes, a minute or more ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --requirement requirements.txt
	@$(BIN)/python -c 'import mnist_s7.cli, mnist_s7.plots'
	@touch $@
	@echo "The environment is ready."
