# From a fresh clone with Python 3.11 and pip alone: `make demo`, `make test`, `make ui`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin

# The tests start hundreds of processes; where this is set each of them compiles the package again, 0.3 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow fuzz soak ui bench bench-catalog docs lint clean

demo: $(VENV)/.installed  ## The main job on 22 made-up networks, then one query
	$(BIN)/python examples/demo.py run

ui: $(VENV)/.installed  ## The Dagster UI on the demo's data
	$(BIN)/python examples/demo.py ui

test: lint  ## Everything that must hold before a commit lands
	@# Three on two cores: a third of the time is spent waiting for Dagster, browsers and servers.
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" --durations=10

test-slow: $(VENV)/.installed  ## The tests that `make test` leaves out: the same facts at full size
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --durations=10

fuzz: $(VENV)/.installed  ## The readers against each other on new documents for MINUTES (10), whole, cut and corrupted
	$(BIN)/python -m mrf_assets_tests.fuzz --minutes $(MINUTES)

soak: $(VENV)/.installed  ## 200 networks from a payer whose every tenth answer is faulty; minutes
	$(BIN)/python -m benchmarks.soak

docs: $(VENV)/.installed  ## The data dictionary, out of schema, views and queries
	$(BIN)/python -m mrf_assets.lake.data_dictionary docs/data_dictionary.md

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-peer .dagster_home demo_data mrf_output

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

bench: $(VENV)/.installed  ## Speed and memory beside peers and limits; BENCH=--large for the 1.3 GB files too
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	test -d $(VENV)-peer || $(PYTHON) -m venv $(VENV)-peer
	$(VENV)-peer/bin/pip install --quiet --disable-pip-version-check cms-mrf-extractor
	$(BIN)/python -m benchmarks.bench_extract --peer $(abspath $(VENV)-peer/bin/mrf-extract) $(BENCH)

bench-catalog: $(VENV)/.installed  ## The shipped queries on 50 networks and 20 million prices, beside the flat layout
	$(BIN)/python -m benchmarks.bench_catalog $(BENCH)
