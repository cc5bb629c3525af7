# Two commands are all a newcomer needs: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first interpreter that runs and is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Installs a lock file ($2) into an environment ($1): by uv, at a tenth of pip's CPU; by pip where uv's own settings reach no registry.
install = { $(BIN)/uv pip install --quiet --python $1/bin/python --require-hashes -r $2 2>$1/uv.log || \
	  $(PIP) --python $1/bin/python install --no-compile --require-hashes -r $2; }

.PHONY: help bench demo test test-compiled tests tools faults fuzz callers browser promtool vendor lint format docs lock clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (python3 -m venv, pip); found: $$(python3 --version 2>&1)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# No installation compiles ahead: that takes longer than the rest of it, for modules that are mostly never imported.
$(VENV)/demo-installed: requirements/demo.txt pyproject.toml | $(VENV)/made
	$(PIP) install --no-compile --require-hashes -r requirements/demo.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev-installed: requirements/dev.txt pyproject.toml | $(VENV)/uv-installed
	@$(call install,$(VENV),requirements/dev.txt)
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/demo-installed

demo: $(VENV)/demo-installed ## Start everything on this machine, make a few calls, go on serving until Ctrl-C.
	$(BIN)/llm-audit serve --demo

$(VENV)/uv-installed: requirements/uv.txt | $(VENV)/made
	$(PIP) install --no-compile --require-hashes -r $<
	@touch $@

test: ## Lint, type-check and run every test.
	@# Side by side, since installing and type-checking keep one core busy: two installations, then lint beside the tests.
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/dev-installed tools
	@$(MAKE) --no-print-directory --jobs 2 --keep-going tests lint

tests: $(VENV)/dev-installed
	@$(BIN)/python -m pytest

# What tests ask for besides the dev environment.
tools: $(VENV)/awscli/installed $(VENV)/checkov/installed
	@$(MAKE) --no-print-directory browser promtool
	@$(MAKE) --no-print-directory --keep-going callers || echo "docs/callers.md: examples without their client are skipped" >&2

browser: ## Install Chromium, in which the console's pages are tested, where that can be done.
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install --yes --quiet chromium; } \
	  || echo "no Chromium here (only root with apt-get can have it installed): the console's pages are not tested in a browser" >&2

PROMTOOL := $(VENV)/prometheus

promtool: ## Unpack promtool, with which ops/prometheus is tested, where there is none and apt is there.
	@# Debian's package is unpacked, not installed: that would start a Prometheus server here.
	@command -v promtool >/dev/null || test -x $(PROMTOOL)/usr/bin/promtool || { command -v apt-get >/dev/null && mkdir -p $(PROMTOOL) && \
	  cd $(PROMTOOL) && apt-get download --quiet prometheus 2>/dev/null && dpkg-deb --extract prometheus_*.deb . && rm -f prometheus_*.deb usr/bin/prometheus; } \
	  || echo "no promtool here (apt-get download prometheus fetches Debian's): the alert rules are not tested" >&2

VENDORED := src/llm_audit/console/static/vendor

vendor: ## Fetch the console's vendored files again, and compare their digests.
	@fetched=$$(mktemp -d) && cd $$fetched && npm pack --silent htmx.org@2.0.11 uplot@1.6.32 >/dev/null && \
	  for package in *.tgz; do tar xzf $$package --one-top-level=$${package%%[.-]*} --strip-components=1; done && \
	  cp htmx/dist/htmx.min.js htmx/LICENSE $(CURDIR)/$(VENDORED)/htmx && \
	  cp uplot/dist/uPlot.iife.min.js uplot/dist/uPlot.min.css uplot/LICENSE $(CURDIR)/$(VENDORED)/uplot && rm -r $$fetched
	cd $(VENDORED) && sha256sum --check --quiet SHA256SUMS

faults: $(VENV)/dev-installed ## Make real faults happen and count what is lost (FAULTS="--only kill --seed 7" for a part).
	@# Without strace and a C compiler some cannot be made: they are fetched where that can be done, and the table says so where not.
	@[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { command -v strace && command -v cc; } >/dev/null || apt-get install --yes --quiet strace gcc libc6-dev || true
	$(BIN)/python -m faults $(FAULTS)

fuzz: $(VENV)/dev-installed ## Look for bytes that break a parser, a minute each (FUZZ="--seconds 600 --only journal --keep").
	$(BIN)/python -m faults.fuzzing $(FUZZ)

# Whom `make bench` compares with, each in an environment of its own, and us, compiled as in the image.
BENCH := $(VENV)/bench
PEERS := envoy vllm-router smg litellm fastapi plots

bench: $(VENV)/dev-installed $(PEERS:%=$(BENCH)/%/installed) $(BENCH)/llm-audit/installed ## Measure us against what people would pick instead; writes docs/benchmarks.md (BENCH_ARGS="--rounds 2").
	@[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || command -v nginx wrk >/dev/null || apt-get install --yes --quiet nginx-light wrk || true
	@command -v wrk >/dev/null || { echo "wrk is needed (Debian: apt-get install wrk nginx-light)" >&2; exit 2; }
	$(BIN)/python -m bench.versus --write $(BENCH_ARGS)
	$(BENCH)/plots/bin/python bench/versus/plots.py build/bench.json docs/benchmarks

$(PEERS:%=$(BENCH)/%/installed): $(BENCH)/%/installed: requirements/bench/%.txt | $(VENV)/made
	$(BIN)/python -m venv $(BENCH)/$*
	$(BENCH)/$*/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --require-hashes -r $<
	@touch $@

$(BENCH)/llm-audit/installed: requirements/bench/llm-audit.txt setup.py pyproject.toml $(shell find src -name '*.py') | $(VENV)/made
	$(BIN)/python -m venv $(BENCH)/llm-audit
	$(BENCH)/llm-audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	LLM_AUDIT_COMPILE=1 $(BENCH)/llm-audit/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --force-reinstall .
	@touch $@

# The tests of what is compiled, against the compiled modules: they must not tell the difference.
test-compiled: $(VENV)/dev-installed $(BENCH)/llm-audit/installed ## Run the data path's tests against the compiled build of `make bench`.
	PYTHONPATH=$$($(BENCH)/llm-audit/bin/python -c 'import llm_audit, pathlib; print(pathlib.Path(llm_audit.__file__).parents[1])') \
	  $(BIN)/python -m pytest tests/record tests/journal tests/proxy tests/ship

# The clients in docs/callers.md that the dev environment does not hold; whoever can't reach npm loses no test but theirs.
CALLERS := $(VENV)/callers

callers: $(CALLERS)/langchain-installed $(CALLERS)/javascript-installed ## Install LangChain and the JavaScript client, to test docs/callers.md.

$(CALLERS)/langchain-installed: requirements/callers.txt | $(VENV)/uv-installed
	$(BIN)/python -m venv --without-pip $(CALLERS)/python
	@$(call install,$(CALLERS)/python,$<)
	@touch $@

$(CALLERS)/javascript-installed: tests/docs/package-lock.json | $(VENV)/made
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "no node and npm here" >&2; exit 1; }
	@mkdir -p $(CALLERS) && cp tests/docs/package.json tests/docs/package-lock.json $(CALLERS)
	npm ci --prefix $(CALLERS) --silent --no-audit --no-fund --fetch-retries 0
	@touch $@

# Tools that pin half of PyPI live alone.
$(VENV)/awscli/installed $(VENV)/checkov/installed: $(VENV)/%/installed: requirements/%.txt | $(VENV)/uv-installed
	$(BIN)/python -m venv --without-pip $(VENV)/$*
	@$(call install,$(VENV)/$*,$<)
	@touch $@

lint: $(VENV)/dev-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

format: $(VENV)/dev-installed ## Let ruff format and mend what it can.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/dev-installed ## Write the documents that are generated from the code.
	$(BIN)/python -m llm_audit.cli.documents
	$(BIN)/python bench/scale.py --write

lock: ## Renew the lock files (hashes, no registry address).
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	cd requirements && for name in demo runtime dev callers awscli checkov uv bench/envoy bench/fastapi bench/litellm bench/llm-audit bench/plots bench/smg bench/vllm-router; do \
	  ../$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate $$name.in -o $$name.txt; done

clean: ## Remove what make made (not ./data).
	rm -rf $(VENV) build dist src/*.egg-info
