# Every target sets up what it needs; nothing has to be typed or started before it.
PRESET ?=
SEEDS ?= 0
PYTEST_ARGS ?=
FUZZ_CASES ?= 20000
FUZZ_SEED ?=
CHAOS_SECONDS ?= 300
CHAOS_SEED ?=
CHAOS_COLUMN ?= both
BIN := .venv/bin

.PHONY: help demo report serve test fuzz chaos check audit format bench docs clean
.DEFAULT_GOAL := help

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 20

demo: .venv/.run-ready ## Train Q1 through the real server and worker, show its results (PRESET=report: in full)
	@$(BIN)/python -m fmx_client.demo --preset $(or $(PRESET),quick)

report: .venv/.run-ready ## The whole report, each published figure beside ours (PRESET=quick: in minutes; SEEDS=0,1,2)
	@$(BIN)/python -m fmx_client.reproduction --preset $(or $(PRESET),report) --seeds $(SEEDS)

serve: .venv/.run-ready ## Server and worker on this machine; Ctrl-C stops both
	@exec $(BIN)/python -m api.serve

test: .venv/.dev-ready ## All tests
	$(BIN)/pytest $(PYTEST_ARGS)

fuzz: .venv/.dev-ready ## The server against its OpenAPI document (FUZZ_CASES=20000, FUZZ_SEED=of a round)
	PYTHONPATH=.:tests:tests/e2e $(BIN)/python tests/fuzz/fuzzing.py --cases $(FUZZ_CASES) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

check: .venv/.dev-ready ## Linter, formatter, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

audit: .venv/.audit-ready ## Our code, known vulnerabilities of its packages, and a list of them in out/sbom.json
	$(BIN)/python scripts/audit.py

format: .venv/.dev-ready ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev-ready ## Measurements, each beside what it is compared with
	$(BIN)/python -m benchmarks.bench

docs: .venv/.docs-ready ## The documentation as a site, in out/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "out/site/index.html"

chaos: .venv/.dev-ready ## Faults for CHAOS_SECONDS, then every promise is checked (CHAOS_SEED, CHAOS_COLUMN)
	@CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_SEED=$(CHAOS_SEED) \
		CHAOS_COLUMN=$(CHAOS_COLUMN) $(BIN)/pytest -q tests/chaos

clean: ## Remove the virtual environment and caches (the data folder .fmx stays)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info

.venv/.run-ready: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh api,worker
	@touch $@

.venv/.dev-ready: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh dev
	@touch .venv/.run-ready $@

.venv/.docs-ready: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh docs
	@touch $@

.venv/.audit-ready: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh audit
	@touch $@
