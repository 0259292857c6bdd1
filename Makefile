# Two commands do all set-up: `make demo` (see it work) and `make test` (lint, types, all tests).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test test-ui bench bench-compare lint types unit proto proto-check docs walk clean

# The demo needs no torch: it uses the exported bundle that lies in the repository.
demo: $(VENV)/.demo
	$(BIN)/clipsearch demo $(if $(ONCE),--once) $(ARGS)

test: $(VENV)/.dev
	$(MAKE) lint types proto-check unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHON=$(BIN)/python proto/generate.sh --lint
	$(BIN)/python -m tests.audit

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy examples

# All but the browser tests, which need a browser. Files side by side: much of it is waiting for processes.
unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# The web page in a real browser; draws the pictures of docs/ui.md anew.
test-ui: $(VENV)/.dev
	tests/ui/find_chromium.sh
	$(BIN)/python -m pytest tests/ui --ui-screenshots docs/images/ui

# Load in steps on a server of the sample model: build/load/load.html. ARGS are options of benchmarks/load/run.py.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.load.run $(ARGS)

# What changed between two runs: make bench-compare A=before/load.json B=after/load.json
bench-compare: $(VENV)/.bench
	$(BIN)/python -m benchmarks.load.compare $(A) $(B)

# Regenerates clipsearch.v1 from proto/.
proto: $(VENV)/.dev
	PYTHON=$(BIN)/python proto/generate.sh

# Fails when the checked-in generated code is not what proto/ gives.
proto-check: $(VENV)/.dev
	rm -rf build/proto && mkdir -p build/proto
	PYTHON=$(BIN)/python proto/generate.sh build/proto
	diff -r -x __init__.py -x __pycache__ build/proto/clipsearch/v1 server/clipsearch/v1

# Rewrites the parts of docs/ that are made from the code.
docs: $(VENV)/.dev
	$(BIN)/python -m docs.generate

# Runs the examples of the guides on the sample catalogue and puts in what they print.
walk: $(VENV)/.dev
	$(BIN)/python -m docs.walk

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.bench: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[bench,demo]'
	touch $@

# torch first and pinned: other requirements would pull in another build of it.
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
