# Every target sets up what it needs in .venv first; when nothing has changed that takes a moment.

# The first Python on the path that is new enough. Another one: make PYTHON=/path/to/python3.12 test
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
WORKERS ?= 2
BIN := .venv/bin

# Tests and benchmarks never reach a model hub. One compute thread per test process: the processes are the parallelism.
test test-slow: export HF_HUB_OFFLINE = 1
test test-slow: export OMP_NUM_THREADS = 1
bench: export HF_HUB_OFFLINE = 1

.PHONY: help demo test test-slow bench lint python environment environment-with-peers

help:
	@echo 'make demo       the paper in miniature, from nothing to run/miniature/report.html; again: goes on where it was'
	@echo 'make test       lint, then every test that takes seconds (WORKERS=2 processes)'
	@echo 'make test-slow  the tests that take minutes or compare with TRL (installs the extra `peers`)'
	@echo 'make bench      our speed and memory beside TRL (installs the extra `peers`)'
	@echo 'make lint       ruff and mypy'

demo: environment
	@$(BIN)/python -m rather run recipes/miniature.toml

test: lint
	$(BIN)/python -m pytest -n $(WORKERS)

test-slow: environment-with-peers
	$(BIN)/python -m pytest -n $(WORKERS) -m 'slow or peers'

bench: environment-with-peers
	$(BIN)/python -m benchmarks

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

environment: python
	@$(PYTHON) tools/environment.py dev

environment-with-peers: python
	@$(PYTHON) tools/environment.py dev peers

python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "rather needs Python 3.11 or newer; found here: $$($(or $(PYTHON),python3) --version 2>/dev/null || echo 'no python3 at all')."; \
	  echo "Install one with your system's package manager or from python.org, or name one that is not on the path:"; \
	  echo "  make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),test)"; exit 1; } >&2
