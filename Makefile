# `make demo` and `make test` are all that a fresh machine needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .cache/uv/bin/uv)
ARGS ?=
CASES ?=
CHECK ?=
export CHECK

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.cache/uv/bin/uv:
	python3 -m venv .cache/uv
	.cache/uv/bin/pip install --quiet uv==$(UV_VERSION)

$(VENV)/.synced: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --quiet
	touch $@

.PHONY: setup
setup: $(VENV)/.synced ## Install the Python packages, pinned by uv.lock

.PHONY: demo
demo: setup ## The whole line on this machine, no server: audience, incidents, pages, verdicts (ARGS="--exit --json --seed N")
	$(BIN)/tocsin demo $(ARGS)

.PHONY: up
up: setup ## Run Tocsin embedded: gateway, jobs, query, alerting, probe, page
	$(BIN)/tocsin up $(ARGS)

.PHONY: lint
lint: setup ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: reference
reference: setup ## Write the reference pages anew from the code: stack language, data dictionary
	TOCSIN_BLESS=1 $(BIN)/pytest tests/golden/test_asl_reference.py tests/golden/test_data_dictionary.py

.PHONY: parts
parts: setup ## Install the real parts that tests use: Kafka (Maven), ClickHouse and players (npm), Chromium (Debian)
	deploy/install-parts

.PHONY: unit
unit: setup ## Fast tests: no server beyond this process
	$(BIN)/pytest tests/unit tests/property tests/conformance tests/golden -m "not kafka and not clickhouse and not browser"

.PHONY: test
test: lint parts ## Everything that must be green: lint, all suites, real Kafka, ClickHouse and Chromium
	cd sdk/js && npm test --silent && npm run --silent size
	$(BIN)/pytest tests

.PHONY: servers
servers: setup ## Install the tests' servers alone: Kafka (Maven), ClickHouse (npm)
	deploy/install-servers

.PHONY: e2e-kafka
e2e-kafka: servers ## One audience through both runners, with kills; equal to a pandas oracle
	$(BIN)/pytest -s tests/e2e/test_kafka_line.py

.PHONY: e2e-replay
e2e-replay: setup ## One log processed twice and from random offsets: one digest
	$(BIN)/pytest -s tests/e2e/test_replay.py

.PHONY: test-players
test-players: parts ## hls.js in Chromium stalls once; the stored stall equals the media events' truth
	$(BIN)/pytest -s tests/browser

# Whatever is about the language, graphs, published points, SQL, the client and who may ask: found by name.
QUERY_TESTS = $(sort $(foreach about,asl atlas query sql publish spectator smile explain client watch sessions \
	analysts dictionary token tenant access,$(wildcard tests/*/test_*$(about)*.py)))

.PHONY: test-query
test-query: servers ## All tests of the stack language, graphs, tags, publish, SQL, explain, the client and charts
	$(BIN)/pytest $(QUERY_TESTS)

.PHONY: golden-atlas
golden-atlas: setup ## Ask a running Tocsin the questions that Netflix Atlas answered (CASES=DIR)
	$(BIN)/python tests/golden/atlas_up.py $(if $(CASES),--cases $(CASES))

.PHONY: seam
seam: setup ## No page where history ends and the live audience goes on: seeds 1 to 20
	TOCSIN_SEAM_SEEDS=20 $(BIN)/pytest -s tests/e2e/test_seam.py

.PHONY: soak
soak: setup ## The long versions of the property tests and of the seam: more examples, seeds of their own
	HYPOTHESIS_PROFILE=soak TOCSIN_SEAM_SEEDS=60 TOCSIN_SEAM_MINUTES=120 $(BIN)/pytest tests/property tests/e2e/test_seam.py --timeout 7200

.PHONY: bench-ingest
bench-ingest: setup ## CPU µs a heartbeat of the gateway, and as a ratio to a bare server (CHECK=1 fails over budget)
	$(BIN)/python benchmarks/bench_ingest.py $(if $(CHECK),--check)

.PHONY: bench-publish
bench-publish: setup ## CPU µs a published point: gateway, jobs, store (CHECK=1 fails over Netflix Atlas's figures)
	$(BIN)/python benchmarks/bench_publish.py $(if $(CHECK),--check)

.PHONY: bench-jobs bench-alerting bench-probe
bench-jobs bench-alerting bench-probe: setup ## CPU of one stage: counting, an alerting tick, a minute of video
	$(BIN)/python benchmarks/$(subst -,_,$@).py

.PHONY: bench-query
bench-query: setup ## CPU ms a graph over 10 million points and over cubes (CHECK=1 fails over Netflix Atlas's figures)
	$(BIN)/python benchmarks/bench_query.py

.PHONY: bench-line
bench-line: servers ## CPU µs a heartbeat by stage, both runners (CHECK=1 fails over budget)
	$(BIN)/python benchmarks/bench_line.py
