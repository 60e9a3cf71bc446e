# Two commands: `make train` trains a capsule network on digits that come with the package,
# `make test` runs all the tests. Both make their own virtual environment, .venv, first.

PYTHON ?= python3
BIN := .venv/bin
# Or, in a new .venv, constraints-oldest.txt: the lowest versions that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/pip install --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: train test coverage check check-page kills fuzz docs reproduce dist clean browser

train: .venv/has-train
	$(BIN)/torchcaps train $(ARGS)

test: .venv/has-dev browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 4 --dist worksteal $(ARGS)

# The same, with the lines that no test runs: half as long again, so not part of every test.
coverage: .venv/has-dev browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 4 --dist worksteal --cov=torchcaps --cov=reproduction --cov-report= $(ARGS)
	$(BIN)/coverage report --fail-under=95 --include='*/routing/*,*/layers/*,*/functional.py,*/types.py'

# So many real kills and full disks at random moments, each gone on with until it finishes: about 20 minutes.
N ?= 1000
kills: .venv/has-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills $(N) $(ARGS)

# Inputs at random, of all kinds that the tool reads, for so many minutes.
MINUTES ?= 3
fuzz: .venv/has-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

check: .venv/has-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(MAKE) --no-print-directory check-page

# The modules of the explorer's page: the one thing here that needs Node.js.
check-page: node_modules/has-biome
	node_modules/.bin/biome check --error-on-warnings

# The site, build/docs: pages with code are run, and every warning, and every link that leads nowhere, is an
# error. `python scripts/check_site.py --axe` looks at its pages in a browser too: minutes.
docs: .venv/has-docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -j 2 -b html docs build/docs
	$(BIN)/python scripts/check_site.py build/docs

# Everything of docs/reproduction.md, at the scale cpu: hours on two cores. See scripts/reproduce.sh.
reproduce: .venv/has-reproduction
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/reproduce.sh

# What is published: dist/ with the sdist and, made from it, the wheel; both checked, and the wheel tried.
dist: .venv/bin/python
	rm -rf dist
	$(PIP) build twine
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv --clear dist/.try
	dist/.try/bin/pip install --disable-pip-version-check -c $(CONSTRAINTS) dist/*.whl
	cd dist/.try && bin/torchcaps --version && bin/python -c 'import torchcaps; torchcaps.create_model("capsnet_small")'
	rm -rf dist/.try

# The tests of the explorer drive Chromium, the system's own: they are skipped where there is none. Without
# the parts for a screen (Debian's chromium-headless-shell) they need a quarter less of the processor.
browser:
	@command -v chromium-headless-shell || \
		if [ "$$(id -u)" = 0 ] && command -v apt-get; then apt-get update && \
		apt-get install -y --no-install-recommends chromium-headless-shell fonts-liberation; else false; fi || \
		command -v chromium || command -v chromium-browser || command -v google-chrome || \
		if [ "$$(id -u)" = 0 ] && command -v apt-get; \
		then apt-get install -y --no-install-recommends chromium fonts-liberation; else false; fi || \
		echo "no Chromium here: install it to run the tests of the explorer too"

clean:
	rm -rf .venv node_modules

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "torchcaps needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/has-train: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) -e '.[train]'
	@touch $@

.venv/has-reproduction: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) -e '.[train,affnist]'
	@touch $@

.venv/has-dev: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) -e '.[dev]'
	@touch $@

.venv/has-docs: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) -e '.[docs]'
	@touch $@

node_modules/has-biome: package.json package-lock.json
	@command -v npm >/dev/null || \
		{ echo "make check reads the explorer's JavaScript with Biome: install Node.js with npm"; exit 2; }
	npm ci --no-audit --no-fund
	@touch $@
