# Everything that can be done with the book. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Python 3.11 to 3.13: TensorFlow has no wheels for others. Another one: make PYTHON=/path/to/python3.12 book
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c '$(SUPPORTED)' 2>/dev/null && echo $(p))) python3)

BIN := .venv/bin
RUN := $(BIN)/python
READY := .venv/.installed
PORT ?= 8000

export TF_CPP_MIN_LOG_LEVEL = 3

.PHONY: help env gpu results again book pdf quick serve refresh test test-all bench dist lint lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY)  ## create the environment in .venv from requirements.lock

# The stamp comes last: an interrupted installation is done again. Bytecode is compiled once, as every kernel and worker
# would compile TensorFlow anew where Python is told to write none.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo "This book needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing): install one and name it, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot create environments because its venv or ensurepip module is missing: install it (on Debian and Ubuntu: apt install python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv) and try again."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	$(RUN) -m uv pip sync --quiet --compile-bytecode --python $(RUN) --require-hashes requirements.lock
	$(RUN) -m uv pip install --quiet --python $(RUN) --no-deps --no-build-isolation -e .
	@touch $@

gpu: $(READY)  ## add TensorFlow's CUDA build to the environment
	$(RUN) -m uv pip install --python $(RUN) --constraints <(sed 's/--hash.*//; s/\\$$//' requirements.lock) --no-build-isolation -e '.[gpu]'

# On a Dask cluster of your own: make results SCHEDULER=tcp://address:8786
results: $(READY)  ## compute the runs that are missing (hours; it resumes; some: make FIGURES="fig02 fig08" results)
	STIFFNESS_SCHEDULER="$(SCHEDULER)" $(RUN) -m stiffness_book.publish.results $(FIGURES)

again: $(READY)  ## compute each figure's quickest run from nothing and compare (some: make FIGURES="fig02 fig08" again)
	$(RUN) -m stiffness_book.publish.results --again $(FIGURES)

book: $(READY)  ## execute every notebook and build the site in _build/html
	$(RUN) -m stiffness_book.publish.site --output _build/html

pdf: $(READY)  ## print the whole book to _build/stiffness.pdf, with Chromium or Chrome
	$(RUN) -m stiffness_book.publish.pdf

quick: $(READY)  ## the whole book from nothing in minutes, on embedded data, in _build/quick/html
	$(RUN) -m stiffness_book.publish.site --quick

serve: $(READY)  ## show _build/html at http://localhost:8000 (another port: make PORT=8080 serve)
	@test -f _build/html/index.html || { echo "There is no site yet: run make book first."; exit 1; }
	$(RUN) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

refresh: $(READY)  ## execute every notebooks/NAME.py into its NAME.ipynb, write the README's table
	$(RUN) -m stiffness_book.publish.refresh
	$(RUN) -m stiffness_book.publish.results --readme

# Two processes, each with one thread of TensorFlow: more threads than cores only wait for each other. A file stays in
# one process: the cells of a notebook need those before them, and a built site is used by all tests of its file.
TESTS := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 $(BIN)/python -m pytest -n 2 \
	--dist loadfile --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks tests

test: $(READY)  ## lint, and run the tests of every push
	$(RUN) -m ruff check .
	$(TESTS) -m "not slow"

test-all: $(READY)  ## lint, and run all tests, the slow ones too
	$(RUN) -m ruff check .
	$(TESTS)

bench: $(READY)  ## time the engine against the plain definition and other libraries (hours; it resumes)
	$(RUN) -m benchmarks.run
	$(RUN) -m benchmarks.models
	$(RUN) -m benchmarks.two_views
	$(RUN) -m benchmarks.ensembles

dist: $(READY)  ## build the wheel and the source distribution in dist/
	$(RUN) -m hatchling build -d dist

lint: $(READY)  ## check the style
	$(RUN) -m ruff check .

lock: $(READY)  ## pin all versions and hashes again (the newest ones: make lock UPGRADE=--upgrade)
	$(RUN) -m uv pip compile $(UPGRADE) pyproject.toml --extra book --extra cluster --extra jax --group dev --group test --universal --python-version 3.11 \
		--generate-hashes --no-header -o requirements.lock

clean:  ## remove the built sites (not the environment, not the results)
	rm -rf _build
