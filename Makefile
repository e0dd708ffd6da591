# Two commands for a newcomer: make run, make test. The others are the developers'.

.DEFAULT_GOAL := help
.PHONY: help run test live lint gauntlet fuzz bench check clean

VENV ?= .venv
IN_VENV := $(VENV)/bin/python
FLAGS ?=

# A Python of 3.11 or later, with venv, and if there is one built with optimisations, as the system's own is: a grape is a
# sixth quicker with it than with what pyenv builds by itself. That of an active virtual environment goes before.
ACTIVE = sys.prefix != sys.base_prefix
QUICK = (sys.base_prefix == "/usr" or "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")))
WITH_VENV = all(map(util.find_spec, ("ensurepip", "venv")))
PYTHON ?= $(shell \
	for want in '$(ACTIVE) and $(WITH_VENV)' '$(QUICK) and $(WITH_VENV)' '$(WITH_VENV)' True; do \
	for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3 python; do \
	$$p -c "import sys, sysconfig; from importlib import util; sys.exit(sys.version_info < (3, 11) or not ($$want))" \
	2>/dev/null && { echo $$p; break 2; }; done; done)

help:
	@echo "make run     run a grape: DHT on UDP 20001, HTTP on 30001 (make run FLAGS='--dp 20002 --aph 30002')"
	@echo "make test    run the tests"
	@echo "make live    run the tests with real processes and real peers (some need npm)"
	@echo "make lint    style, types and import contracts"
	@echo "make gauntlet  attacks, deaths and simulated networks, with figures; about seven minutes"
	@echo "make fuzz    throw damaged datagrams at it (make fuzz SECONDS=600)"
	@echo "make bench   how fast it is beside the Node grape and libtorrent (some need npm and wrk); about thirteen minutes"
	@echo "make check   all of it, as CI does"
	@echo "make clean   remove the virtual environment and caches"

run: $(VENV)/.for-run
	@exec $(IN_VENV) -m grape $(FLAGS)

test: $(VENV)/.for-test
	@$(IN_VENV) -m pytest -q --ignore tests/live $(ARGS)

live: $(VENV)/.for-dev
	@$(IN_VENV) -m pytest -q tests/live $(ARGS)

lint: $(VENV)/.for-dev
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .
	@$(IN_VENV) -m mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo

gauntlet: $(VENV)/.for-dev
	@$(IN_VENV) -m gauntlet $(ARGS)

SECONDS ?= 60
fuzz: $(VENV)/.for-dev
	@$(IN_VENV) fuzz/datagrams.py -max_total_time=$(SECONDS) $(ARGS)

bench: $(VENV)/.for-bench
	@$(IN_VENV) -m benchmarks $(ARGS)

check:
	@.ci/run

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# A stamp for each set of packages: made again when the packages that are asked for change.
$(VENV)/.for-run: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.)
$(VENV)/.for-test: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[test])
$(VENV)/.for-dev: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[dev])

$(VENV)/.for-bench: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[bench])

define install
@echo "Installing what is needed into $(VENV) ..."
@$(IN_VENV) -m pip install --quiet --disable-pip-version-check --editable '$(1)' || { \
	echo "make: the packages could not be installed; is the package index within reach?" >&2; exit 1; }
@touch $@
endef

$(IN_VENV):
	@test -n "$(PYTHON)" || { \
		echo "make: Python 3.11 or later is needed and was not found (PYTHON=... names one)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) lacks venv and ensurepip (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: the virtual environment $(VENV) could not be made" >&2; exit 1; }
