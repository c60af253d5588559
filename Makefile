# Needs make and Python 3.11 or newer; everything else is installed into .venv on demand.

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TOPOLOGY ?= apart
SPLITS := payments-apart apart

# A stamp is named after what it stands for, so that a new lock file or a moved folder is noticed.
key = $(shell cksum $(1) | cut -d' ' -f1)
MADE := $(VENV)/made-$(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)
RUNTIME := $(VENV)/runtime-$(call key,requirements/runtime.txt)
DEV := $(VENV)/dev-$(call key,requirements/dev.txt)

INSTALL = $(BIN)/python -m pip install --quiet --quiet --no-input --disable-pip-version-check --no-deps
# The portico command and the import roots src and generated, as links to this folder.
PROJECT = $(INSTALL) --no-build-isolation --editable .
# No headers and no addresses: a lock file says what, never from where.
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --quiet $(ARGS)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run up test parity journeys proof check lint types imports proto proto-lint proto-breaking migrate bench format lock clean

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUNTIME) ## serve gRPC and REST with demonstration data; Ctrl-C stops it
	@unset DATABASE_URL REDIS_URL; exec $(BIN)/portico serve --demo $(ARGS)

up: $(RUNTIME) ## run every process of TOPOLOGY on this machine, with demonstration data
	@unset DATABASE_URL; exec $(BIN)/portico up $(TOPOLOGY) --demo $(ARGS)

test: $(DEV) ## run the tests; ARGS="-k webhook" picks some
	@$(BIN)/pytest --numprocesses 2 $(ARGS)

parity: $(DEV) ## compare all transports, case by case, and print the score
	@$(BIN)/python -m portico.testing.score tests.placement.table $(ARGS)

journeys: $(DEV) ## the journeys of the tests on split topologies, with real processes
	@for topology in $(SPLITS); do \
	    echo "journeys on $$topology"; $(BIN)/pytest --numprocesses 0 tests/journeys --topology $$topology || exit 1; \
	done
	@echo "journeys on apart, events by Redis"
	@$(BIN)/pytest --numprocesses 0 tests/journeys --topology apart --events redis

proof: $(DEV) ## what takes minutes: a module that moves, outages, the outbox, a fault at every step of a workflow
	@$(BIN)/pytest --numprocesses 0 tests/proof $(ARGS)
	@$(BIN)/python -m tests.proof.workflows

check: lint types imports proto-lint test ## everything that CI checks before the proofs

lint: $(DEV) ## check style, format and declared dependencies
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/deptry --no-ansi src

types: $(DEV) ## check types
	@$(BIN)/mypy

imports: $(DEV) ## check the boundaries between modules and layers
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m portico.check.sources src

proto: $(DEV) ## make generated/ from protos/
	@$(BIN)/python -m portico.check.generate

proto-lint: $(DEV) ## check the contracts' style
	@cd protos && $(CURDIR)/$(BIN)/buf lint

proto-breaking: $(DEV) ## compare the contracts with the last commit on main
	@$(BIN)/python -m portico.check.breaking

migrate: $(RUNTIME) ## bring the database at DATABASE_URL up to date
	@$(BIN)/portico migrate $(ARGS)

bench: $(RUNTIME) ## measure one hop: method, local call, network call
	@$(BIN)/portico lab hop $(ARGS)

format: $(DEV) ## write the code as lint wants it
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

lock: $(DEV) ## bring requirements/*.txt up to pyproject.toml; ARGS=--upgrade takes the newest
	@$(INSTALL) uv
	@$(LOCK) --group build --output-file requirements/runtime.txt >/dev/null
	@$(LOCK) --group dev --constraints requirements/runtime.txt --output-file requirements/dev.txt >/dev/null

clean: ## remove what make and the tools made; the demonstration's data in .portico stays
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src generated tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@python=; for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or newer is needed; found: $$(python3 --version 2>&1)" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python cannot make a virtual environment: install its venv package" >&2; \
	    echo "(on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; \
	fi; \
	"$$python" -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): | $(MADE)
	@echo "Installing what the program needs into $(VENV), once ..." >&2
	@$(INSTALL) --no-compile --require-hashes --requirement requirements/runtime.txt
	@$(PROJECT)
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@

$(DEV): | $(MADE)
	@echo "Installing what the program and its tests need into $(VENV), once ..." >&2
	@$(INSTALL) --no-compile --require-hashes --requirement requirements/dev.txt
	@$(PROJECT)
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $(RUNTIME) $@
