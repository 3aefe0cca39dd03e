# Every target sets itself up: the first call makes .venv, later calls only redo what changed.
# Needs Python >= 3.11 (PYTHON=...), a C compiler, pip and the network for the first installation.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
ARGS ?=
SEED ?= 1
SECONDS ?= 60
SESSIONS ?= 2000
OPERATIONS ?= 1000000000
POSTS ?= 1000000
ONLY ?= .
STREAMS ?= 100000
BOOKS ?= 1000000

CYTHON_SOURCES := $(shell find src \( -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -print)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --root-user-action ignore
SAY := @echo "==>"

# One file per dependency set says when it was installed; see tools/requirements.py.
RUN := $(VENV)/.stamp-run
DEV := $(VENV)/.stamp-dev
BENCH := $(VENV)/.stamp-bench

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test check lint format docs bench bench-plot annotate trace sanitize fuzz soak exhaustive ledger-storm journal-storm kill-storm mutation groups-exhaustive conformance feed-soak wire-soak engine-storm backtest-scale clean faults backtest-memory linkcheck halt-storm soak-live
.DELETE_ON_ERROR:

help: ## Show this list
	@echo "polyexec: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: $(RUN) ## Trade on the embedded paper exchange: ARGS="--seed 1", ARGS="--replay PATH"
	@$(BIN)/polyexec demo $(ARGS)

test: $(DEV) ## Run the test-suite: ARGS="-k name"
	@$(PY) -m pytest $(ARGS)

check: lint ## What a change must pass: format, lint, types, stubs, layers, docs, tests, coverage
	$(SAY) "Layers"
	@$(PY) -m pytest -q tests/test_layering.py
	@$(MAKE) docs
	$(SAY) "Tests and coverage"
	@$(PY) -m pytest --cov --cov-report=term $(ARGS)

lint: $(DEV) ## Check format, style and types
	$(SAY) "Format, style"
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@PATH="$(abspath $(BIN)):$$PATH" cython-lint --max-line-length 100 src
	$(SAY) "Types, stubs"
	@$(PY) -m mypy
	@$(PY) tools/stubtest.py

format: $(DEV) ## Rewrite the sources in the project's format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: $(DEV) ## Build the documentation, warnings are errors
	$(SAY) "Documentation"
	@$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

linkcheck: $(DEV) ## Ask the outside links of the documentation; needs the network
	@$(PY) -m sphinx -q -b linkcheck docs docs/_build/linkcheck

bench: $(BENCH) ## Measure: ONLY=regex; writes benchmarks/latest.json and RESULTS.md
	@$(PY) -m benchmarks.run --only '$(ONLY)' $(ARGS)

bench-plot: $(BENCH) ## Draw benchmarks/latest.json as benchmarks/latest.svg
	@test -f benchmarks/latest.json || $(MAKE) bench
	@$(PY) -m benchmarks.plot

annotate: $(DEV) ## Fail when a hot Cython function talks to the interpreter more than before
	@$(PY) tools/annotate.py $(ARGS)

trace: $(DEV) ## Line coverage of the Cython sources, from a traced build in .trace
	@PYTHON=$(abspath $(PY)) sh tools/trace.sh $(ARGS)

sanitize: $(DEV) ## Test the compiled code under address and undefined-behaviour sanitisers
	@PYTHON=$(abspath $(PY)) sh tools/sanitize.sh $(ARGS)

fuzz: $(DEV) ## Fuzz every parser and compiled entry point: SECONDS=60 ONLY=regex
	@$(PY) -m tests.fuzz.run --seconds $(SECONDS) --seed $(SEED) --only '$(ONLY)' $(ARGS)

soak: $(DEV) ## Simulated trading with faults: SESSIONS=2000 SEED=1 ARGS="--jobs 4"
	@$(PY) -m tests.simulation.run --sessions $(SESSIONS) --seed $(SEED) $(ARGS)

exhaustive: $(DEV) ## Check a million signatures, then every price, tick and size of the amounts grid
	@$(PY) -m tests.exhaustive.sign
	@$(PY) -m tests.exhaustive.run $(ARGS)

ledger-storm: $(DEV) ## Hammer the ledger from threads without the GIL: OPERATIONS=1000000000 SEED=1
	@$(PY) -m tests.concurrency.run --operations $(OPERATIONS) --seed $(SEED) $(ARGS)

journal-storm: $(DEV) ## Cut, damage and kill the journal: ARGS="--kills 1000 --seed 7"
	@$(PY) -m tests.journal_storm.run $(ARGS)

kill-storm: $(DEV) ## Kill live executors against the paper exchange: ARGS="--kills 1000 --seed 1"
	@$(PY) -m tests.kills.run $(ARGS)

halt-storm: $(DEV) ## Halt executors while threads submit: ARGS="--halts 10000 --seed 1"
	@$(PY) -m tests.halts.run $(ARGS)

mutation: $(DEV) ## Break the money code line by line and count the tests that notice: ARGS="--only outcome"
	@$(PY) tools/mutation.py $(ARGS)

groups-exhaustive: $(DEV) ## Check exposure and worst loss of every way a group of three can go
	@$(PY) -m tests.exhaustive.groups --seed $(SEED) $(ARGS)

conformance: $(DEV) ## Compare both HTTP/2 framings: STREAMS=1000000 SEED=7; one case again: ARGS="--case 7:42"
	@$(PY) -m tests.conformance.run --streams $(STREAMS) --seed $(SEED) $(ARGS)

feed-soak: $(DEV) ## Follow a day of market feed with every fault on the way: ARGS="--hours 24 --seed 1"
	@$(PY) -m tests.feed_soak.run --seed $(SEED) $(ARGS)

wire-soak: $(DEV) ## Post over rotating connections and count what is left: POSTS=1000000 SEED=1
	@$(PY) -m tests.wire_soak.run --posts $(POSTS) --seed $(SEED) $(ARGS)

soak-live: $(DEV) ## Run a bot with everything attached against a faulty exchange for an hour: ARGS="--minutes 60"
	@$(PY) -m tests.soak_live.run --seed $(SEED) $(ARGS)

faults: $(DEV) ## Cut, reset and hold up a POST behind every byte: ARGS="--stride 13 --only cut"
	@$(PY) -m tests.hostile.offsets $(ARGS)

engine-storm: $(DEV) ## Hold the evaluator against exact fractions on random books: BOOKS=1000000 SEED=1
	@$(PY) -m tests.engine.storm --books $(BOOKS) --seed $(SEED) $(ARGS)

backtest-scale: $(DEV) ## Show what groups cost a backtest per event, and what a second process saves
	@$(PY) -m benchmarks.backtest_scale $(ARGS)

backtest-memory: $(DEV) ## Replay recordings of two sizes and see that memory stays: ARGS="--mib 10240"
	@$(PY) -m tests.backtest.memory $(ARGS)

clean: ## Remove everything that was built or installed here
	rm -rf $(VENV) .venv-boot .trace .sanitize .annotate .mutation build dist docs/_build src/*.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov coverage.xml
	find src -name '*.so' -delete
	find src/polyexec/_fast -name '*.c' -delete 2>/dev/null || true
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------

$(VENV)/.stamp-venv: tools/make_venv.sh
	@sh tools/make_venv.sh "$(PYTHON)" $(VENV)
	@touch $@

$(VENV)/.stamp-build: $(VENV)/.stamp-venv tools/requirements.py pyproject.toml
	$(SAY) "Installing the build tools"
	@$(PY) tools/requirements.py build > $(VENV)/build.txt
	@$(INSTALL) -r $(VENV)/build.txt
	@touch $@

$(RUN): $(VENV)/.stamp-build pyproject.toml setup.py $(CYTHON_SOURCES)
	$(SAY) "Compiling the extensions and installing polyexec"
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

# The sets name the runtime dependencies too, so that pip finds versions that suit all of them.
define install_set
$(SAY) "Installing the $(1) tools"
@$(PY) tools/requirements.py $(2) > $(VENV)/$(1).txt
@$(INSTALL) -r $(VENV)/$(1).txt
@touch $@
endef

$(DEV): $(RUN) pyproject.toml
	$(call install_set,development,run dev compat docs)

$(BENCH): $(RUN) pyproject.toml
	$(call install_set,benchmark,run bench)
