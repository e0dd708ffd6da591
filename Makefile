# Two commands for a newcomer: make run and make test. The others are for developers.

.DEFAULT_GOAL := help
.PHONY: help run run-fast test test-compiled live lint man drawings picture docs gauntlet fuzz bench charts wheels check clean \
	python install-systemd

VENV ?= .venv
IN_VENV := $(VENV)/bin/python
# A copy of the sources with the compiled modules beside them, and its environment; make test and make run do not see it.
COMPILED_TREE := build/compiled
COMPILED_VENV ?= .venv-compiled
FLAGS ?=

# Python 3.11 or later, with venv. An active virtual environment's goes first, then one that was built with optimisations,
# as Debian's is: a grape is a sixth quicker with it than with what pyenv builds unless it is told otherwise.
ACTIVE = sys.prefix != sys.base_prefix
QUICK = (sys.base_prefix == "/usr" or "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")))
WITH_VENV = all(map(util.find_spec, ("ensurepip", "venv")))
PYTHON ?= $(shell \
	for want in '$(ACTIVE) and $(WITH_VENV)' '$(QUICK) and $(WITH_VENV)' '$(WITH_VENV)' True; do \
	for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3 python; do \
	$$p -c "import sys, sysconfig; from importlib import util; sys.exit(sys.version_info < (3, 11) or not ($$want))" \
	2>/dev/null && { echo $$p; break 2; }; done; done)

# One of each CPython for which modules can be compiled. (Of a command that ends with 127, make takes no output.)
CPYTHONS = $(shell for minor in 11 12 13 14; do \
	for p in python3.$$minor "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.$$minor.*/bin/python3.$$minor; do \
	$$p -c "import os, sys, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h'); print(sys.executable)" \
	2>/dev/null && break; done; done; true)

help:
	@echo "make run       run a grape: DHT on UDP port 20001, HTTP API on TCP port 30001"
	@echo "               (other ports: make run FLAGS='--dp 20002 --aph 30002')"
	@echo "make run-fast  the same, with the hot modules compiled (needs gcc and Python's headers; takes some minutes once)"
	@echo "make test      run the tests, about a minute (one file: make test ARGS=tests/test_store.py)"
	@echo "make test-compiled  run the tests on the compiled modules (ARGS=tests/live: another choice)"
	@echo "make live      run the tests with real processes and real peers (some need node, npm, gcc and chromium)"
	@echo "make lint      check style, types and imports"
	@echo "make man       write the man pages of the commands anew (make drawings: the drawings of docs/images/)"
	@echo "make picture   write the picture of the live page anew (needs node, npm and chromium)"
	@echo "make docs      build the documentation as a site, in build/docs/html"
	@echo "make gauntlet  attack, kill and simulate grapes, and print figures; about fourteen minutes"
	@echo "make fuzz      send damaged datagrams to a grape for a minute (longer: make fuzz SECONDS=600)"
	@echo "make bench     measure the speed beside the Node grape and libtorrent; about thirteen minutes"
	@echo "               (needs node, npm, gcc and wrk; with the compiled build: make bench COMPILED=/path/to/its/python)"
	@echo "make charts    draw docs/images anew, of what make bench and make gauntlet measured last"
	@echo "make wheels    build a wheel with compiled modules for each CPython that is there, and a pure one, into dist/"
	@echo "make check     run everything that CI runs; under 45 minutes"
	@echo "make install-systemd PREFIX=/opt/grape"
	@echo "               install units for the twistd in PREFIX/bin and a file of settings (for packages: DESTDIR=)"
	@echo "make clean     remove what these commands made, but no state files (*.sqlite) and no findings of make fuzz"
	@echo
	@echo "Needed: Python 3.11 or later with venv, make, and curl for the README's examples"
	@echo "(Debian: apt install python3-venv make curl). Packages come from PyPI, into $(VENV)/."

run: $(VENV)/.for-run
	@exec $(IN_VENV) -m grape $(FLAGS)

run-fast: $(COMPILED_VENV)/.for-run
	@exec $(COMPILED_VENV)/bin/grape $(FLAGS)

test: $(VENV)/.for-test
	@$(IN_VENV) -m pytest -q --ignore tests/live $(ARGS)

test-compiled: $(COMPILED_VENV)/.for-dev
	@cd $(COMPILED_TREE) && $(abspath $(COMPILED_VENV))/bin/python -m pytest -q $(or $(ARGS),--ignore tests/live)

live: $(VENV)/.for-dev
	@$(IN_VENV) -m pytest -q tests/live $(ARGS)

lint: $(VENV)/.for-dev
	@$(IN_VENV) .ci/docstrings
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .
	@$(IN_VENV) -m mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo

man: $(VENV)/.for-test
	@$(IN_VENV) .ci/man

drawings: $(VENV)/.for-test
	@$(IN_VENV) -m docs._ext.drawings

picture: $(VENV)/.for-bench
	@$(IN_VENV) .ci/picture

# Warnings are errors: a link or a reference that leads nowhere ends the build.
docs: $(VENV)/.for-docs
	@rm -rf build/docs
	@$(IN_VENV) -m docs._ext.source build/docs/source
	@$(IN_VENV) -m sphinx -q -W --keep-going -c docs build/docs/source build/docs/html
	@echo "built: build/docs/html/index.html"

# Where make gauntlet and make bench write their results, as JSON and as charts. "make charts" draws docs/images of them.
RESULTS ?= build/results

gauntlet: $(VENV)/.for-dev
	@$(IN_VENV) -m gauntlet --results $(RESULTS) $(ARGS)

SECONDS ?= 60
fuzz: $(VENV)/.for-dev
	@$(IN_VENV) fuzz/datagrams.py -artifact_prefix=fuzz/ -max_total_time=$(SECONDS) $(ARGS)

# COMPILED=PYTHON measures the compiled build that this Python has installed, as well.
COMPILED ?=
bench: $(VENV)/.for-bench
	@$(IN_VENV) -m benchmarks --results $(RESULTS) $(if $(COMPILED),--compiled $(COMPILED)) $(ARGS)

charts: $(IN_VENV)
	@test -e $(RESULTS)/bench.json -o -e $(RESULTS)/gauntlet.json || { \
		echo "make: $(RESULTS) has no results; run make bench or make gauntlet first" >&2; exit 1; }
	@if test -e $(RESULTS)/bench.json; then $(IN_VENV) -m benchmarks.chart $(RESULTS)/bench.json docs/images; fi
	@if test -e $(RESULTS)/gauntlet.json; then $(IN_VENV) -m gauntlet.chart $(RESULTS)/gauntlet.json docs/images; fi

# From a source distribution, so that nothing of an earlier build gets into a wheel.
wheels: $(VENV)/.for-dev
	@rm -rf dist
	@$(IN_VENV) -m build --sdist --outdir dist . >/dev/null 2>&1
	@$(IN_VENV) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist dist/*.tar.gz
	@for python in $(CPYTHONS); do \
		echo "Compiling for $$python ..."; \
		"$$python" -m venv --clear build/wheels && \
		GRAPE_COMPILE=1 build/wheels/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--wheel-dir dist dist/*.tar.gz || exit 1; done
	@rm -rf build/wheels
	@ls dist

check:
	@.ci/run

# For the twistd in PREFIX/bin, into which the package was installed before. Units in /usr and /usr/local are those of
# packages; others, of an environment such as /opt/grape, are the administrator's. The file of settings is kept if there
# is one. Nothing is started or enabled.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),$(PREFIX)/lib/systemd/system,$(SYSCONFDIR)/systemd/system)
UNITS = grape.service grape@.service grape.socket grape-api.socket

install-systemd:
	@test -n "$(DESTDIR)" || test -x "$(PREFIX)/bin/twistd" || { \
		echo "make: there is no $(PREFIX)/bin/twistd; name the environment that has the grape: make $@ PREFIX=..." >&2; \
		exit 1; }
	install -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSCONFDIR)/grape"
	for unit in $(UNITS); do \
		sed 's|^ExecStart=/usr/bin/|ExecStart=$(PREFIX)/bin/|' "contrib/systemd/$$unit" >"$(DESTDIR)$(UNITDIR)/$$unit" && \
		chmod 644 "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; done
	test -e "$(DESTDIR)$(SYSCONFDIR)/grape/grape.toml" || \
		install -m 644 contrib/systemd/grape.toml "$(DESTDIR)$(SYSCONFDIR)/grape/grape.toml"
	@# Writes the cache of twistd's plugins, which the unit's user may not.
	@test -n "$(DESTDIR)" || "$(PREFIX)/bin/twistd" --help >/dev/null
	@test -n "$(DESTDIR)" || echo "Next: edit $(SYSCONFDIR)/grape/grape.toml; systemctl daemon-reload; systemctl enable --now grape"

# State files and what the fuzzer found stay: they cannot be made again.
MADE = $(VENV) $(COMPILED_VENV) build dist grape_dht.egg-info .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis \
	twisted/plugins/dropin.cache fuzz/corpus \
	$(foreach folder,tests/live/node benchmarks/node,$(folder)/node_modules $(folder)/package-lock.json)
SOURCES = grape twisted tests gauntlet benchmarks fuzz docs

clean:
	rm -rf $(MADE)
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

# Prints which Python is taken, for .ci/.
python:
	@echo '$(PYTHON)'

# One stamp file for each set of packages; pip runs again after setup.cfg or pyproject.toml changed.
$(VENV)/.for-run: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[cli])
$(VENV)/.for-test: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[test])
$(VENV)/.for-docs: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[docs])
$(VENV)/.for-dev: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[dev])

$(VENV)/.for-bench: setup.cfg pyproject.toml | $(IN_VENV)
	$(call install,.[bench])

# The compiled modules: made anew after any file of the repository changed.
COMPILED_FROM = $(shell find $(SOURCES) contrib man .ci -type f -not -path '*/node_modules/*' -not -path 'fuzz/corpus/*' \
	-not -name '*.pyc' -not -name dropin.cache -not -name package-lock.json) setup.py setup.cfg pyproject.toml Makefile README.md CHANGELOG.md MANIFEST.in

$(COMPILED_VENV)/.for-run: $(COMPILED_FROM)
	$(call compile,[cli])
$(COMPILED_VENV)/.for-dev: $(COMPILED_FROM)
	$(call compile,[dev])

define compile
@$(MAKE) --no-print-directory VENV=$(COMPILED_VENV) COMPILED_VENV=none $(COMPILED_VENV)/bin/python
@echo "Compiling into $(COMPILED_TREE), and installing that into $(COMPILED_VENV) ..."
@mkdir -p $(COMPILED_TREE) && tar -cf - $(COMPILED_FROM) .gitignore CONTRIBUTING.md LICENSE | tar -xf - -C $(COMPILED_TREE)
@GRAPE_COMPILE=1 $(COMPILED_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	--editable './$(COMPILED_TREE)$(1)' || { \
	echo "make: pip could not compile or install; its reason is above" >&2; exit 1; }
@$(COMPILED_VENV)/bin/grape --version | grep -q compiled || { \
	echo "make: nothing was compiled: gcc and Python's headers are needed (Debian: apt install gcc python3-dev)" >&2; exit 1; }
@touch $@
endef

define install
@echo "Installing what is needed into $(VENV) ..."
@$(IN_VENV) -m pip install --quiet --disable-pip-version-check --editable '$(1)' || { \
	echo "make: pip could not install the packages; its reason is above (is PyPI within reach?)" >&2; exit 1; }
@touch $@
endef

$(IN_VENV):
	@python='$(PYTHON)'; \
	test -n "$$python" || { \
		echo "make: no Python 3.11 or later was found; install one (Debian 12 or later: apt install python3-venv)" \
		"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $$python is not Python 3.11 or later; name another one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $$python has no venv or no ensurepip; install them (Debian: apt install python3-venv)" >&2; exit 1; }; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: the virtual environment $(VENV) could not be made; the reason is above" >&2; exit 1; }
