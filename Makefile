# Everything sets itself up: system packages (packaging/apt-packages), then .venv. PYTHON=python3.12 chooses another
# interpreter than the system's, SEED=123 repeats the random choices of an earlier run of the tests.

PY := .venv/bin/python
SCRIPTS := packaging/setup .ci/run
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
# Suites with targets of their own: they need more time, or more of the machine.
APART := tests/bench tests/kill tests/s3
# Under CI=true hypothesis would make the same choices each time.
PYTEST := $(PY) -m pytest --hypothesis-profile=fresh --hypothesis-seed=$(SEED)

export PYTHON

.PHONY: help setup setup-demo setup-test demo test lint types unit bench test-s3 clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':[a-z -]*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: setup-demo ## record ten seconds and deliver them to a recordings API on this machine
	@$(PY) -c 'from agent.cli import main; main()' demo --directory demo

setup: ## what the agent needs, in .venv
	@packaging/setup run

setup-demo:
	@packaging/setup demo

setup-test: ## what tests, lint and types need, in .venv
	@packaging/setup test

test: lint types unit ## lint, types and tests

lint: setup-test ## style of code and scripts
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	shellcheck $(SCRIPTS)

types: setup-test ## mypy, strict
	$(PY) -m mypy

unit: setup-test ## the tests alone
	$(PYTEST) $(addprefix --ignore=,$(APART))

bench: setup-test ## measure what recording and delivering cost
	$(PY) tests/bench/bench.py

test-s3: ## the upload against a real S3 server
	@packaging/setup s3
	$(PYTEST) tests/s3

clean: ## remove what was set up, built, cached, and recorded by the demo
	rm -rf .venv .bench build demo dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find agent tests -name __pycache__ -prune -exec rm -rf {} +
