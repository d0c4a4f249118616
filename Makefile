# From a fresh clone with Python 3.11 and pip alone: `make demo`, `make test`, `make ui`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Of those on PATH and pyenv's.
NEWEST_PYTHON ?= $(shell find $(subst :, ,$(PATH)) $(wildcard $(HOME)/.pyenv/versions/*/bin) -maxdepth 1 \
	-name 'python3.[0-9][0-9]' 2>/dev/null | sed 's|.*/python3\.\(..\)$$|\1 &|' | sort | tail -1 | cut -d ' ' -f 2)

# The tests start hundreds of processes; where this is set each of them compiles the package again, 0.3 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-newest test-slow fuzz soak ui bench bench-catalog docs lint pins clean

demo: $(VENV)/.demo  ## The main job on 22 made-up networks, then one query
	$(BIN)/python examples/demo.py run

ui: $(VENV)/.ui  ## The Dagster UI on the demo's data
	$(BIN)/python examples/demo.py ui

test: lint  ## Everything that must hold before a commit lands
	@# Three on two cores: a third of the time is spent waiting for Dagster, browsers and servers.
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" --durations=10

test-newest:  ## `make test` on the newest Python of this machine
	@newest=$$($(NEWEST_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	if $(PYTHON) -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$newest')"; \
	then echo "Python $$newest is the newest on this machine, and \`make test\` uses it."; \
	else $(MAKE) test VENV=$(VENV)-newest PYTHON=$(NEWEST_PYTHON); fi

test-slow: $(VENV)/.installed  ## The tests that `make test` leaves out: the same facts at full size
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --durations=10

fuzz: $(VENV)/.installed  ## The readers against each other on new documents for MINUTES (10), whole, cut and corrupted
	$(BIN)/python -m mrf_assets_tests.fuzz --minutes $(MINUTES)

soak: $(VENV)/.installed  ## 200 networks from a payer whose every tenth answer is faulty; minutes
	$(BIN)/python -m benchmarks.soak

docs: $(VENV)/.installed  ## The data dictionary and the page of settings, out of the code
	$(BIN)/python -m mrf_assets.lake.data_dictionary docs/data_dictionary.md
	$(BIN)/python -m mrf_assets.settings.reference_page docs/settings.md

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-peer $(VENV)-newest .dagster_home demo_data mrf_output

pins: $(VENV)/.installed  ## Renew requirements-dev.txt and constraints.txt within the ranges of pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --fork-strategy fewest --no-annotate --no-strip-extras \
		--custom-compile-command "make pins" --extra dev --generate-hashes --output-file requirements-dev.txt pyproject.toml
	@# pip looks for `gql[requests]` apart from `gql`, and takes a version that has no hash; constraints have no extras.
	echo "# Made by \`make pins\`: the exact versions that the tests passed with." > constraints.txt
	sed -n '/^[A-Za-z0-9].*==/{s/ *\\$$//;s/\[[^]]*\]//;p}' requirements-dev.txt >> constraints.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# As users install it, without the tools of development.
$(VENV)/.ui: EXTRAS = [report,ui]
$(VENV)/.demo $(VENV)/.ui: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --constraint constraints.txt --editable '.$(EXTRAS)'
	touch $@

$(VENV)/.installed: pyproject.toml requirements-dev.txt | $(BIN)/python
	$(PIP) --require-hashes --requirement requirements-dev.txt
	$(PIP) --no-deps --editable .
	touch $@

bench: $(VENV)/.installed  ## Speed and memory beside peers and limits; BENCH=--large for the 1.3 GB files too
	test -d $(VENV)-peer || $(PYTHON) -m venv $(VENV)-peer
	$(VENV)-peer/bin/pip install --quiet --disable-pip-version-check cms-mrf-extractor
	$(BIN)/python -m benchmarks.bench_extract --peer $(abspath $(VENV)-peer/bin/mrf-extract) $(BENCH)

bench-catalog: $(VENV)/.installed  ## The shipped queries on 50 networks and 20 million prices, beside the flat layout
	$(BIN)/python -m benchmarks.bench_catalog $(BENCH)
