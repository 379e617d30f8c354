# Every command of the project. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test dev lint format build sanitize fuzz windows wheels bench bench-smoke bench-venv docs clean

BIN := .venv/bin
STRICT := WINSOCKCTL_STRICT=1

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set up and watch datagrams of traffic made for the purpose
	sh tools/setup.sh run && $(BIN)/winsockctl demo

test: ## set up and run the tests
	sh tools/setup.sh test && $(BIN)/pytest

dev: .venv/dev ## set up everything that the commands below need

.venv/dev: pyproject.toml tools/setup.sh
	sh tools/setup.sh dev
	touch $@

build: .venv/dev ## compile with gcc and with clang, every warning an error
	for compiler in gcc clang; do \
	    rm -rf build && CC=$$compiler $(STRICT) $(BIN)/python -m pip wheel -q --no-deps -w dist . || exit 1; \
	done

lint: .venv/dev ## check Python and C sources and the workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --no-progress --quiet .github

format: .venv/dev ## format Python and C sources
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $$(git ls-files '*.c' '*.h')

sanitize: .venv/dev ## run the tests on an AddressSanitizer and UndefinedBehaviorSanitizer build
	VENV=.venv-sanitize WINSOCKCTL_SANITIZE=1 sh tools/setup.sh test
	rm -f .venv-sanitize/finding.*
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	    PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:log_path=$(CURDIR)/.venv-sanitize/finding \
	    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$(CURDIR)/.venv-sanitize/finding \
	    .venv-sanitize/bin/pytest -o timeout=600 || { cat .venv-sanitize/finding.* 2>/dev/null; exit 1; }

FUZZ_SECONDS := 30
FUZZ_FLAGS := -std=c11 -Isrc -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined

fuzz: ## fuzz the C of core/ with clang's libFuzzer; FUZZ_SECONDS=30 for each target
	python3 fuzz/seeds.py build/fuzz/seeds
	for target in savefile filter ipv6_header; do \
	    mkdir -p build/fuzz/corpus/$$target && \
	    clang $(FUZZ_FLAGS) fuzz/fuzz_$$target.c src/core/*.c -o build/fuzz/$$target && \
	    build/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	        -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$target \
	        build/fuzz/seeds/$$target || exit 1; \
	done

windows: ## build for Windows, run the tests there under Wine; installs what it takes
	python3 tools/windows/rig.py all

wheels: ## build the wheels of Linux and Windows into dist/, run the tests from each
	sh tools/wheels.sh

bench: bench-venv ## measure what a datagram costs beside the peers, write docs/performance.md
	.venv-bench/bin/python -m pytest benchmarks --results build/benchmarks.json --report docs

bench-smoke: bench-venv ## half a minute of that: do the benchmarks run, are the counts right
	.venv-bench/bin/python -m pytest benchmarks -q -m smoke --quick

bench-venv:
	VENV=.venv-bench sh tools/setup.sh bench

docs: .venv/dev ## build the documentation into docs/_build, every warning an error
	$(BIN)/sphinx-build --quiet --fresh-env --write-all --nitpicky --fail-on-warning --keep-going docs docs/_build

clean: ## remove what the commands above made
	rm -rf build dist docs/_build .venv .venv-* .windows* .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
