# make run   installs what is missing, builds, and starts a server on an embedded database (ARGS="--port 9000" for options)
# make test  installs what is missing, and runs all tests
SHELL := /bin/bash
ARGS ?=
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: run test test-clients test-javascript test-python test-mcp convergence setup-clients build setup lint format conformance bench compare micro simulate mutants kill fuzz clean

run: build
	@exec .build/release/starling serve $(ARGS)

build: setup
	swift build -c release --product starling

test: setup lint
	swift build --build-tests
	swift test --skip-build
	@$(MAKE) --no-print-directory test-clients

# The clients in other languages, against the server that was built last: clients/README.md
SERVER ?= $(CURDIR)/.build/debug/starling
test-clients: test-javascript test-python test-mcp convergence

test-javascript: setup-clients
	STARLING_BINARY=$(SERVER) node clients/javascript/test/run.js

test-python: setup-clients
	cd clients/python && STARLING_BINARY=$(SERVER) $(PYTHON) -m unittest

# The official SDK of the Model Context Protocol, and a checker, in an environment of their own: Tests/MCP/README.md
MCP := $(CURDIR)/.build/mcp/bin/python
test-mcp: setup-clients
	@[ -x $(MCP) ] || python3 -m venv .build/mcp
	@$(MCP) -c 'import mcp, mcpcheck' 2>/dev/null || $(MCP) -m pip install --quiet --disable-pip-version-check 'mcp>=2.3,<3' 'jbt-mcpcheck>=0.1.1'
	STARLING_BINARY=$(SERVER) $(MCP) Tests/MCP/run.py

# Fifteen clients in three languages, cut off at random: clients/convergence/README.md
convergence: setup-clients
	@swift build --product starling && swift build --product convergence-driver
	STARLING_BINARY=$(SERVER) $(PYTHON) clients/convergence/run.py

# Node 20.10 or later, or any with Debian's node-ws; Python 3.11 or later, with the one package that the client needs, what holds HTTP to its description, and LangGraph.
PYTHON := $(CURDIR)/.build/python/bin/python
setup-clients: setup
	@command -v node >/dev/null || $(SUDO) apt-get install -y -qq --no-install-recommends nodejs node-ws
	@[ -x $(PYTHON) ] || { python3 -m venv .build/python 2>/dev/null || \
	  { $(SUDO) apt-get install -y -qq --no-install-recommends python3-venv && python3 -m venv .build/python; }; }
	@$(PYTHON) -c 'import websockets, jsonschema, openapi_spec_validator, langgraph.store.base' 2>/dev/null || $(PYTHON) -m pip install --quiet --disable-pip-version-check \
	  'websockets>=13' 'jsonschema>=4' 'openapi-spec-validator>=0.7' 'langgraph-checkpoint>=3'

# The headers of SQLite and zlib, to build; SQLite's shell and curl, for the tests to look into a database and to ask as the documents say.
setup:
	@command -v swift >/dev/null || { echo "Swift 6.3 is needed: https://www.swift.org/install/"; exit 1; }
	@if [ "$$(uname)" = Linux ] && ! { [ -e /usr/include/sqlite3.h ] && [ -e /usr/include/zlib.h ] && command -v sqlite3 >/dev/null && command -v curl >/dev/null; }; then \
	  command -v apt-get >/dev/null || { echo "SQLite (headers and shell) and zlib (headers) are needed"; exit 1; }; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends libsqlite3-dev sqlite3 zlib1g-dev curl; \
	fi

lint:
	swift format lint --strict --recursive Sources Tests Fuzzing Benchmarks/Micro clients Package.swift

format:
	swift format format --in-place --recursive Sources Tests Fuzzing Benchmarks/Micro clients Package.swift

# The Autobahn test suite against the echo server: Tests/Autobahn/README.md says how to have wstest.
conformance: build
	Tests/Autobahn/run

# A minute of each scenario's short form. `compare` measures peers too, and needs WSLOAD, a load generator; `micro` measures
# single steps, and fetches a package of its own: Benchmarks/README.md
bench: build
	Benchmarks/short

compare: build
	Benchmarks/compare

micro: setup
	BENCHMARKS=1 swift package --scratch-path .build-benchmarks benchmark run --target Micro

# Whole systems under seeds: Tests/Simulation/README.md. SEEDS=558 runs one again. WORLD=store: databases of SQLite's by themselves.
SEEDS ?= 0-9999
WORLD ?=
simulate:
	swift build -c release --product simulate
	.build/release/simulate $(if $(WORLD),--$(WORLD)) $(SEEDS)

# Puts bugs in, and sees whether the simulation finds them.
mutants:
	Tests/Simulation/mutate

# ROUNDS of kill -9 under 64 writers.
ROUNDS ?= 100
kill: build
	swift build --build-tests
	STARLING_BINARY=$(CURDIR)/.build/release/starling STARLING_KILLS=$(ROUNDS) STARLING_WRITERS=64 \
	  swift test --skip-build --filter KillTests

# Feeds a parser with hostile bytes for TIME seconds: Fuzzing/README.md
TARGET ?= frames
TIME ?= 60
fuzz: setup
	FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz --product fuzz
	@mkdir -p .build-fuzz/corpus/$(TARGET) .build-fuzz/crashes
	FUZZ_TARGET=$(TARGET) SWIFT_BACKTRACE=enable=no .build-fuzz/release/fuzz -max_total_time=$(TIME) -timeout=10 \
	  -max_len=8192 -artifact_prefix=.build-fuzz/crashes/$(TARGET)- .build-fuzz/corpus/$(TARGET) Fuzzing/Corpus/$(TARGET)

clean:
	swift package clean
