# Everything sets itself up: system packages (packaging/apt-packages), then .venv. PYTHON=python3.12 chooses another
# interpreter than the system's, SEED=123 repeats the random choices of an earlier run of the tests.

PY := .venv/bin/python
SCRIPTS := .ci/run packaging/setup packaging/deb packaging/lock systemd/install systemd/uninstall systemd/go-back tests/suites/arm64/run \
	$(wildcard packaging/debian/recorder-agent.p*)
MINUTES ?= 30
# Of the long recording in the virtual machine: three, unless MINUTES was asked for.
VM_MINUTES := $(if $(filter file,$(origin MINUTES)),3,$(MINUTES))
LOOPS ?= 0
CUTS ?= 12
UNPLUGS ?= 5
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
# Suites with targets of their own: they need more time, or more of the machine.
APART := tests/suites
# Under CI=true hypothesis would make the same choices each time.
PYTEST := $(PY) -m pytest --hypothesis-profile=fresh --hypothesis-seed=$(SEED)

export PYTHON

.PHONY: help setup setup-demo setup-test demo test lint types unit unit-root bench deb clean
.PHONY: test-abuse test-voice test-voice-short test-hostile test-crash test-interleaving test-power test-faults test-lives test-fleet test-matrix test-network test-page test-s3 test-systemd test-fresh test-first-hour test-arm64 test-vm soak
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
	shellcheck --external-sources $(SCRIPTS)

types: setup-test ## mypy, strict
	$(PY) -m mypy

unit: setup-test ## the tests alone
	$(PYTEST) --numprocesses=3 --dist=loadfile $(addprefix --ignore=,$(APART))
	@[ "$$(id -u)" -eq 0 ] || $(MAKE) --no-print-directory unit-root

# As anybody but root: the tests that need it, by sudo. They leave nothing of root's in this folder.
unit-root:
	@if command -v sudo >/dev/null && sudo -v; then \
		sudo env PYTHONDONTWRITEBYTECODE=1 $(PYTEST) -p no:cacheprovider -m root tests $(addprefix --ignore=,$(APART)); \
	else \
		echo "the tests that need root are left out: there is no right to use sudo"; \
	fi

bench: setup-test ## measure what it costs, recording and idle (SHORT=--short)
	$(PY) tests/suites/bench/bench.py $(SHORT)

test-crash: setup-test ## kill it at every step and at random, damage its index (CRASH_KILLS=1000 for more)
	$(PYTEST) -s tests/suites/crash --ignore=tests/suites/crash/test_power_cuts.py

test-interleaving: setup-test ## both processes step by step in an order of chance, and killed: 100,000 steps each
	INTERLEAVED_STEPS=100000 $(PYTEST) -s tests/unit/index/test_interleaving.py -k nothing_is_lost

test-power: setup-test ## rebuild the card as power cuts leave it (CRASH_IMAGES=5000 for more)
	$(PYTEST) -s tests/suites/crash/test_power_cuts.py

test-faults: setup-test ## microphone, disk, clock and shutdown under faults, as root
	$(PYTEST) -s tests/suites/faults

test-lives: setup-test ## ten thousand simulated lives of a recorder: is every second accounted for? (LIVES=1000 for less)
	LIVES=$(or $(LIVES),10000) $(PYTEST) -s tests/unit/recorder/test_lives.py

test-fleet: setup-test ## fleets that share one limit, on a simulated clock
	$(PYTEST) -s tests/suites/fleet
	OFFLINE_SEEDS=200 $(PYTEST) -s tests/integration/test_request_budget.py -k hour_offline

test-hostile: setup-test ## absurd answers, files and strangers, on the real processes (CELLS=all FILES=all for each one)
	CELLS=$(or $(CELLS),240) FILES=$(or $(FILES),120) $(PYTEST) -s tests/suites/hostile

test-abuse: setup-test ## the deliverer aborted, stopped, starved, bad company at the sockets: is one sample lost? (SHORT=--short)
	PYTHONPATH=tests/suites/faults:tests/suites/hostile SHORT=$(SHORT) $(PYTEST) -s tests/suites/abuse $(if $(SHORT),-k "unread_log or killed_recorder or judge")

test-voice: setup-test ## speech, noise and music through the voice triggers, and what listening costs (VOICE_SHARE=0.1 for a look)
	@packaging/setup voice
	$(PYTEST) -s tests/suites/voice

test-voice-short: setup-test ## the same, in little more than a minute
	@packaging/setup voice
	VOICE_SHARE=0.08 COST_SECONDS=3 KILLS=2 $(PYTEST) -s tests/suites/voice -k "not once_a_minute and not pressed and not flat"

test-matrix: setup-test ## every call of the API against every answer
	$(PYTEST) -s tests/suites/matrix

test-network: ## lines that break, drop and stall, and connections that change, in network namespaces, as root
	@packaging/setup network
	$(PYTEST) -s tests/suites/network

test-page: ## the page in a real browser: pictures in build/page, axe, a crowd
	@packaging/setup page
	$(PYTEST) -s tests/suites/page

test-s3: ## the upload against a real S3 server
	@packaging/setup s3
	$(PYTEST) tests/suites/s3

test-systemd: setup-test ## the service and the packages on machines of their own (containers), as root
	@packaging/setup systemd
	$(PYTEST) -s tests/suites/systemd

test-fresh: setup-test ## demo and tests on Debian 12 and 13 made from nothing (containers), as root
	$(PYTEST) -s tests/suites/fresh/test_fresh.py

test-first-hour: setup-test ## the README's commands as printed on a fresh Debian 12 and 13 (containers), as root
	$(PYTEST) -s tests/suites/fresh/test_first_hour.py

test-arm64: setup-test ## the arm64 package in an emulated userland, as root (15 to 25 minutes)
	tests/suites/arm64/run

test-vm: deb ## the package on a real kernel in a virtual machine, as root (CUTS=100, UNPLUGS=20, PARTS="cuts board", SHORT=--short)
	@packaging/setup vm
	$(PYTEST) tests/suites/vm
	PYTHONPATH=tests/support:tests/suites:tests/suites/faults:tests/suites/systemd $(PY) -m vm $(SHORT) --cuts $(CUTS) --unplugs $(UNPLUGS) \
		--minutes $(VM_MINUTES) --seed $(SEED) $(PARTS)

soak: setup-test ## half an hour of faults at random, judged by a code inside the sound (MINUTES=3 for less, LOOPS=10 beside it)
	$(PY) tests/suites/faults/soak.py --minutes $(MINUTES) --loops $(LOOPS)

deb: ## a Debian package for this machine's release and architecture, in dist/
	@packaging/deb

clean: ## remove what was set up, built, cached, and recorded by the demo
	rm -rf .venv .bench build demo dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find agent tests -name __pycache__ -prune -exec rm -rf {} +
