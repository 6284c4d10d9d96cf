# Every target does its own set-up: a machine with python3 (3.11 or newer) and make is enough to begin with.
# The Python packages come from requirements/*.txt with hashes, wheels only; the project itself is installed in place.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint bench soak lock clean debian-packages engine

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
FROM_LOCK := install --quiet --only-binary :all: --require-hashes
IN_PLACE := install --quiet --no-deps --no-build-isolation --editable .
PORT ?= 8083
ARGS ?=
WHAT ?= soak
TESTS ?= tests
BENCH ?= bench/lookup.py
YZ_SEEDS ?= 200
PROGRAMS := $(addprefix tests/,cli fuzz nginx process watched web test_bench.py test_examples.py)

help: ## this list
	awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start a node on port 8083; more flags with ARGS="…"
	echo "Starting a node: yz-node --port $(PORT) $(ARGS)"
	exec $(BIN)/yz-node --port $(PORT) $(ARGS)

test: $(VENV)/.dev debian-packages ## lint and every test, with branch coverage
	echo "Running the tests that start programs, and beside them on another core the lint and then all other tests, told last"
	rm -f .coverage .coverage.*
	log=$$(mktemp)
	{ $(MAKE) --no-print-directory lint
	  COVERAGE_FILE=.coverage.others exec $(BIN)/python -m pytest $(addprefix --ignore=,$(PROGRAMS)) --cov --cov-report= >"$$log" 2>&1
	} &
	others=$$!
	trap 'kill $$others 2>/dev/null || true; rm -f "$$log"' EXIT
	status=0
	COVERAGE_FILE=.coverage.programs $(BIN)/python -m pytest $(PROGRAMS) --cov --cov-report= || status=$$?
	wait $$others || status=$$?
	cat "$$log"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	exit $$status

lint: $(VENV)/.dev ## ruff, mypy and import-linter
	echo "Checking style, types and imports"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.dev ## every measurement under bench/
	for script in bench/*.py; do
	  echo "== $$script"
	  $(BIN)/python "$$script"
	done

soak: $(VENV)/.dev debian-packages engine ## the long forms of the tests, logged under docs/results; TESTS="…" and BENCH="…" choose
	export YZ_SOAK=1 YZ_SEEDS=$(YZ_SEEDS)
	mkdir -p docs/results
	log=docs/results/$$(date -u +%Y-%m-%d)-$(WHAT).log
	{ echo "commit:  $$(git rev-parse HEAD)$$(git diff --quiet HEAD -- . ':!docs/results' || echo ', with changes')"
	  echo "command: make soak YZ_SEEDS=$(YZ_SEEDS) TESTS='$(TESTS)'"
	  echo "machine: $$($(BIN)/python --version), $$(nproc) cores, $$(uname -sr)"
	} | tee "$$log"
	# Neither this folder, nor the home, nor the name of the machine goes into the log.
	anonymous() { sed -u "s#$(CURDIR)#.#g; s#$$HOME#~#g; s#\b$$(uname -n)\b#machine#g"; }
	long() { $(BIN)/python -m pytest --no-header --timeout=3600 "$$@" 2>&1 | anonymous | tee -a "$$log"; }
	echo "Tests that are marked soak, then the long forms of all others" | tee -a "$$log"
	long -s -m soak $(TESTS) || { status=$$?; [ $$status = 5 ] || exit $$status; echo "No test is marked soak" | tee -a "$$log"; }
	long -rP $(TESTS)
	for script in $(BENCH); do
	  echo "== $$script" | tee -a "$$log"
	  $(BIN)/python "$$script" | anonymous | tee -a "$$log"
	done
	echo "Log: $$log"

lock: $(VENV)/.dev ## resolve requirements/*.txt anew
	echo "Resolving requirements/dev.txt and requirements/run.txt"
	lock="$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --only-binary :all:"
	lock="$$lock --generate-hashes --no-emit-index-url --no-header --no-annotate"
	$$lock --extra dev pyproject.toml requirements/build.in --output-file requirements/dev.txt
	$$lock --constraint requirements/dev.txt pyproject.toml requirements/build.in --output-file requirements/run.txt

clean: ## remove the environment, caches and coverage data
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find yzdht tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up. The stamps say which lock file an environment was made from.

$(BIN)/python:
	python=
	for name in python3 python3.14 python3.13 python3.12 python3.11; do
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi
	done
	[ "$$python" ] || { echo "error: Python 3.11 or newer is needed; on Debian 12: apt-get install python3" >&2; exit 1; }
	echo "Making a Python environment in $(VENV) with $$($$python --version)"
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then
	  $(call debian,python3-venv)
	fi
	$$python -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	echo "Installing what a node needs (requirements/run.txt)"
	$(PIP) $(FROM_LOCK) -r requirements/run.txt
	$(PIP) $(IN_PLACE)
	touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	echo "Installing what the tests need (requirements/dev.txt)"
	$(PIP) $(FROM_LOCK) -r requirements/dev.txt
	$(PIP) $(IN_PLACE)
	touch $@ $(VENV)/.run

# What the tests start that is not Python: strace watches the disk, ip makes networks, node and Chromium run the browser's half,
# certutil has Chromium trust a test's authority, Prometheus scrapes and promtool reads the metrics, nginx stands in front of nodes,
# miniupnpd is the router that is asked to forward a port.
debian-packages:
	missing=
	command -v strace >/dev/null || missing+=" strace"
	command -v node >/dev/null || missing+=" nodejs"
	[ -x /usr/bin/chromium ] || missing+=" chromium"
	command -v certutil >/dev/null || missing+=" libnss3-tools"
	command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=" prometheus"
	command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=" nftables"
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=" nginx"
	command -v miniupnpd >/dev/null || [ -x /usr/sbin/miniupnpd ] || missing+=" miniupnpd-nftables"
	command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing+=" iproute2"
	if [ "$$missing" ]; then
	  $(call debian,$$missing)
	fi

# A Docker engine, in which the long form of the tests builds and runs deploy/; no image comes from anywhere, debootstrap makes what they
# begin with. Compose and buildx are the system's, or those of the next Debian, unpacked beside the Python packages.
engine: $(VENV)/.dev
	missing=
	command -v docker >/dev/null && { command -v dockerd >/dev/null || [ -x /usr/sbin/dockerd ]; } || missing+=" docker.io"
	command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || missing+=" debootstrap"
	if [ "$$missing" ]; then
	  $(call debian,$$missing)
	fi
	if ! { export DOCKER_CONFIG=$(VENV)/none; docker compose version && docker buildx version; } >/dev/null 2>&1; then
	  [ -e $(VENV)/engine/usr/libexec/docker/cli-plugins/docker-compose ] || sh tests/nginx/compose_plugins.sh $(VENV)/engine
	fi

# $(call debian,PACKAGES): install them, or say what to install.
define debian
by=; if [ "$$(id -u)" != 0 ]; then by="sudo -n"; fi
  if ! command -v apt-get >/dev/null || ! $$by true 2>/dev/null; then
    echo "error: these Debian packages are missing:" $(1) >&2
    echo "hint: as root, run: apt-get update && apt-get install -y --no-install-recommends" $(1) >&2
    exit 1
  fi
  echo "Installing Debian packages:" $(1)
  $$by apt-get update -qq
  $$by env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null
endef
