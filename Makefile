# Almanac: everything a person types. `make help` lists it.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.ONESHELL:
.SILENT:
.PHONY: help run test check bench lock clean

PORT ?= 8080
CONFIG ?=
ARGS ?=
MODELS ?= var/models

# The newest Python that the libraries are built for, else whatever else will do.
PYTHONS := python3.13 python3.12 python3.11 python3.14 python3
BOOTSTRAP := -m appliance.setup.bootstrap --models '$(MODELS)'

# Sets up what is missing, with --dev for tests and checks. When nothing is, this is one
# question to .venv's own Python, 0.1 s and no network (-S: it needs nothing installed to answer).
define set_up
if ! .venv/bin/python -S $(BOOTSTRAP) --ready $(1) 2>/dev/null; then
  for python in $(PYTHONS) ''; do
    "$${python:-false}" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
  done
  if [ -z "$$python" ]; then
    echo 'Almanac needs Python 3.11 or newer with its venv module: sudo apt install python3 python3-venv'
    exit 1
  fi
  "$$python" $(BOOTSTRAP) $(1) || exit $$?
fi
endef

run: ## Set up what is missing, then serve. PORT=8080 CONFIG=almanac.toml ARGS='further flags'
	$(call set_up)
	exec .venv/bin/almanac $(if $(CONFIG),--config '$(CONFIG)') serve --port $(PORT) $(ARGS)

test: ## Run the tests. ARGS='-k epub' for some of them
	$(call set_up,--dev)
	exec .venv/bin/python -m pytest $(ARGS)

check: ## Run what a change must pass besides the tests: ruff, mypy, import-linter
	$(call set_up,--dev)
	set -ex
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: ## Measure against the raw engines. ARGS='…' for the benchmark
	$(call set_up,--dev)
	exec .venv/bin/python -m tests.bench $(ARGS)

LOCK := uv pip compile pyproject.toml - --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-annotate

lock: ## Write the lock files again from pyproject.toml (needs uv). ARGS=--upgrade for newer versions
	command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv'; exit 1; }
	set -e
	export UV_CUSTOM_COMPILE_COMMAND='make lock'
	# setuptools belongs to the runtime: it installs Almanac itself without asking the network.
	echo 'setuptools>=80' | $(LOCK) $(ARGS) --output-file requirements.lock >/dev/null
	echo 'setuptools>=80' | $(LOCK) $(ARGS) --extra dev --constraint requirements.lock \
	  --output-file requirements-dev.lock >/dev/null
	# Outside clients, each for an environment of its own; node/package-lock.json is npm's (`npm install`, there).
	for wanted in tests/clients/locks/*.in; do
	  $(subst pyproject.toml -,"$$wanted",$(LOCK)) $(ARGS) --output-file "$${wanted%.in}.lock" >/dev/null
	done

clean: ## Remove .venv and caches. Never var/: that is your library, its record and the models
	rm -rf .venv build dist almanac.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

help: ## Show this list
	sed -n 's/^\([a-z]*\): ## /\1\t/p' Makefile | while IFS='	' read -r name words; do
	  printf '  make %-7s %s\n' "$$name" "$$words"
	done
	echo
	echo '  No network here? ALMANAC_MODELS_FROM=/media/stick make run takes the models from a folder,'
	echo '  and pip takes the libraries from its own settings (PIP_NO_INDEX=1 PIP_FIND_LINKS=/media/stick).'
