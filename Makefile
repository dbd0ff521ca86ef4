# Short targets. The environment leaves stamps in $(VENV), so that a second run starts at once.

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS    ?=
SECONDS ?= 120

# Suites that others publish: nothing of them is kept here. Fetch one, and say where it lies.
AUTOBAHN ?=
H2SPEC   ?=

ROOMS    := http upgrade websocket http2 tunnel
TYPED    := $(wildcard src/switchover/*/*.pxd src/switchover/*/*/*.pxd)
COMPILED := $(TYPED) $(wildcard src/switchover/*/*.pyx $(TYPED:_c.pxd=.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: autobahn bench build clean coverage demo docs format fuzz h2spec help interop lint properties rules test \
    types wheel

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "make %-9s %s\n", $$1, $$2 }'

demo: $(VENV)/.built ## install, build, and serve the demonstration on 127.0.0.1:8101
	$(BIN)/switchover serve $(ARGS)

build: $(VENV)/.built ## the environment, and the compiled modules in place

test: $(VENV)/.built $(VENV)/.tools ## the whole suite; ARGS="-k trailers"; SWITCHOVER_PURE_PYTHON=1
	$(BIN)/python -m pytest $(ARGS)

lint: rules format types ## ruff (rules and format) and mypy --strict

rules: $(VENV)/.built $(VENV)/.tools
	$(BIN)/ruff check .

format: $(VENV)/.built $(VENV)/.tools
	$(BIN)/ruff format --check .

types: $(VENV)/.built $(VENV)/.tools
	$(BIN)/mypy --strict src

coverage: $(VENV)/.built $(VENV)/.tools ## branches of the sans-I/O rooms, by their own tests: 95 %
	SWITCHOVER_PURE_PYTHON=1 $(BIN)/python -m pytest $(wildcard $(ROOMS:%=tests/%)) \
	    --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --fail-under=95 \
	    --include="src/switchover/errors.py$$(printf ',src/switchover/%s/*' $(ROOMS))"

fuzz: $(VENV)/.built $(VENV)/.tools ## heads and frames against other readers, SECONDS each (120)
	PYTHONPATH=src $(BIN)/python tests/fuzz/test_head_oracles.py --seconds $(SECONDS)
	PYTHONPATH=src $(BIN)/python tests/fuzz/test_frame_oracles.py --seconds $(SECONDS)

properties: $(VENV)/.built $(VENV)/.tools ## every property of the suite, fifty times longer
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m hypothesis -o timeout=0 $(ARGS)

bench: $(VENV)/.built $(VENV)/.tools $(VENV)/.bench ## our benchmark, the peers in the same run
	$(call need,benchmarks)
	$(BIN)/python -m benchmarks $(ARGS)

interop: $(VENV)/.built $(VENV)/.tools ## real peers; skips, and says why, where one is missing
	$(BIN)/python -m pytest -m "interop or browser" $(ARGS)

autobahn: $(VENV)/.built $(VENV)/.tools ## AUTOBAHN=DIR: the Autobahn suite against both ends
	$(call need,compliance/autobahn)
	$(call fetched,AUTOBAHN,the folder that holds the autobahntestsuite package for Python 3)
	AUTOBAHN="$(AUTOBAHN)" $(BIN)/python -m compliance.autobahn $(ARGS)

h2spec: $(VENV)/.built $(VENV)/.tools ## H2SPEC=FILE: h2spec against the demonstration server
	$(call need,compliance/h2spec)
	$(call fetched,H2SPEC,the h2spec program)
	H2SPEC="$(H2SPEC)" $(BIN)/python -m compliance.h2spec $(ARGS)

docs: $(VENV)/.built ## the pages a program writes: conformance and reference
	$(BIN)/python tools/conformance.py
	$(BIN)/python tools/reference.py

wheel: $(VENV)/.tools ## dist/: the sdist, a wheel that runs anywhere, a compiled wheel
	$(PIP) build
	$(BIN)/python -m build --sdist
	SWITCHOVER_BUILD=pure $(BIN)/python -m build --wheel
	SWITCHOVER_BUILD=required $(BIN)/python -m build --wheel

clean: ## everything that make has made
	rm -rf $(VENV) build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf src/*.egg-info
	find src -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs the optional extras named, without building the package once more.
extras = $(BIN)/python -c 'import sys, tomllib; \
    extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
    print(*(line for name in sys.argv[1:] for line in extras[name]), sep="\n")' $(1) \
    | $(PIP) -r /dev/stdin
need = @test -d $(1) || { echo "$@: $(1)/ is not in this tree" >&2; exit 2; }
fetched = @test -e "$($(1))" || { echo \
    "$@: say where $(2) lies: make $@ $(1)=PATH (see docs/how-to/run-the-suites.md)" >&2; exit 2; }

# An environment that is there already is taken as it is: make test VENV=path
$(VENV)/.created:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.built: pyproject.toml setup.py $(COMPILED) | $(VENV)/.created
	$(PIP) -e ".[demo]"
	@ls src/switchover/*/*.so >/dev/null 2>&1 && echo "built: compiled modules in place" \
	    || echo "built: pure Python; it is complete, and slower (a C compiler makes the difference)"
	touch $@

$(VENV)/.tools: pyproject.toml | $(VENV)/.built
	$(call extras,test lint)
	touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.built
	$(call extras,bench)
	touch $@
