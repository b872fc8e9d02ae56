# Everything from a fresh clone, with Python 3.11 or newer and make: the virtual environment .venv is set up on demand,
# and again only when pyproject.toml has changed.

PYTHON ?= python3
# Data set, further arguments and folder of `make train`.
DATASET ?= digits
TRAIN_ARGS ?= --hidden 201 201 --closure bp --batch-size 32 --epochs 30
RUN ?= runs/$(DATASET)-$(shell date +%Y%m%d-%H%M%S)
# Folders of `make gpu`: of the results, and with the files of MNIST.
OUT ?= runs/gpu
DATA ?=
# Further arguments of `make test` and `make quick`, for example PYTEST_ARGS="-m 'not slow'", or "-n 0 -s" for one process that prints.
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin

.DELETE_ON_ERROR:
.PHONY: help train test quick package gpu docs lint format clean

help:
	@echo "make train   train a network (DATASET=$(DATASET), TRAIN_ARGS=...)"
	@echo "make test    run the whole test suite"
	@echo "make quick   run those that touch every kind of thing, in less than a minute once things are compiled"
	@echo "make package build the archives, install them, and try the newest and the lowest versions of everything"
	@echo "make gpu     with a GPU: its tests, the benchmark, MNIST (PYTHON, DATA=folder of its files, OUT=$(OUT))"
	@echo "make docs    build the documentation into site/, with warnings as errors"
	@echo "make lint    check style, format and types"
	@echo "make format  rewrite the sources in the checked format"
	@echo "make clean   remove the virtual environment, caches and build products"

train: $(VENV)/.stamp-run
	$(BIN)/deepnet train $(DATASET) $(TRAIN_ARGS) --out $(RUN)

test: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

# In one process: to start others takes as long as they would save. PYTEST_ARGS as above.
quick: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m quick $(PYTEST_ARGS)

# In environments of their own, for which libraries are downloaded.
package: $(VENV)/.stamp-dev
	$(BIN)/python tests/installed.py

# With the libraries of the Python that is there: CuPy and PyTorch are made for a driver, and not for `make` to choose.
gpu:
	$(PYTHON) tests/on_gpu.py --out $(OUT) $(if $(DATA),--data-dir $(DATA))

docs: $(VENV)/.stamp-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON); name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "name another one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) lacks the venv module (on Debian and Ubuntu it is in the package python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-run: pyproject.toml | $(VENV)/.stamp-venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[data,plots]'
	@touch $@

$(VENV)/.stamp-docs: pyproject.toml | $(VENV)/.stamp-venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

# The development environment contains the others.
$(VENV)/.stamp-dev: pyproject.toml | $(VENV)/.stamp-venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.stamp-run $(VENV)/.stamp-docs $@
