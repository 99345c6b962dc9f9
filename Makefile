# `make help` lists what there is.

PYTHON ?= python3
PORT ?= 8000

BIN := .venv/bin
INSTALLED := .venv/.requirements-installed
MODULES := node_modules/.lock-installed
SITE := http://127.0.0.1:$(PORT)

# Strictness lives here, so that plain `pytest` stays lenient.
PYTEST := $(BIN)/python -m pytest -W error
# What holds a promise in seconds runs by itself and without coverage, which slows every line.
# Four at a time on two cores: many tests wait for a server or for a browser most of their time.
AT_ONCE := --numprocesses 4 --dist worksteal
# A test run starts hundreds of processes; without bytecode each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: firefox help run admin test ways frameworks simulate matrix mutants bench chaos abuse screenshots lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo '  PYTHON=… chooses the interpreter for a new environment, PORT=… the port of `make run`.'

run: $(INSTALLED) ## set everything up and serve the demo on http://127.0.0.1:8000
	@$(BIN)/python manage.py migrate --verbosity 0
	@printf '\n  the page    %s\n  the admin   %s  (`make admin` makes a superuser)\n  to try      %s\n\n' \
		'$(SITE)/' '$(SITE)/admin/' 'curl $(SITE)/broadcast/hello'
	@exec $(BIN)/daphne --endpoint tcp:port=$(PORT):interface=127.0.0.1:backlog=4096 project.asgi:application

admin: $(INSTALLED) ## make a superuser for the admin
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py createsuperuser

test: $(INSTALLED) ## run all tests, strictly (ARGS=… goes to pytest)
	@.ci/system-packages
	@$(MAKE) --no-print-directory $(MODULES)
	$(PYTEST) $(AT_ONCE) -m 'not alone' --cov --cov-fail-under=95 $(ARGS) || [ $$? -eq 5 ]
	$(PYTEST) -m alone $(ARGS) || [ $$? -eq 5 ]

ways: $(INSTALLED) ## try every way of a page to have a browser announce, in Chromium and Firefox, and write down what comes of it
	@.ci/system-packages with-firefox
	ALL_WAYS=1 $(PYTEST) tests/browser/test_cross_site.py $(ARGS)
	$(BIN)/python -m docs.ways

firefox: $(INSTALLED) ## try the elements in Firefox
	@.ci/system-packages with-firefox
	IN_FIREFOX=1 $(PYTEST) tests/browser/test_firefox.py $(ARGS)

frameworks: $(INSTALLED) ## try the elements in pages of each framework and print a table (ARGS='-k vue', needs `npm ci`)
	@.ci/system-packages
	ALL_FRAMEWORKS=1 $(PYTEST) tests/frameworks $(ARGS)

simulate: $(INSTALLED) ## see what overlaps in a thousand made-up sites (ARGS='--seeds=1000 --first=1', ARGS=--help for more)
	@.ci/system-packages
	$(BIN)/python -m tests.simulation $(ARGS)

matrix: $(INSTALLED) ## run the tests on all versions of Python, Django and the rest (ARGS=--list, ARGS='--session NAME')
	@.ci/system-packages
	$(BIN)/nox $(ARGS)

mutants: $(INSTALLED) ## break the code in 300 ways, one at a time, and see which the tests notice (ARGS=--help for more)
	@.ci/system-packages
	$(BIN)/python -m bench.mutants $(ARGS)

bench: $(INSTALLED) ## measure it, beside others (ARGS=--quick for a short look, ARGS=--help for more)
	$(BIN)/python -m bench $(ARGS)

chaos: $(INSTALLED) ## break a fleet for five minutes and see that nothing is lost (ARGS='--seconds=60 --seed=1')
	@.ci/system-packages
	$(BIN)/python -W error -m chaos $(ARGS)

abuse: $(INSTALLED) ## let hostile clients loose on a site and see that honest ones notice nothing (ARGS='--seconds=60 --seed=1')
	$(BIN)/python -W error -m abuse $(ARGS)

screenshots: $(INSTALLED) ## take the pictures in docs/screenshots anew (ARGS=DIRECTORY for all 100 there, needs `npm ci`)
	@.ci/system-packages
	$(BIN)/python -m docs.pictures $(ARGS)

lint: $(INSTALLED) ## check style, format, types and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment, the caches and the demo's database
	rm -rf .venv node_modules .coverage .coverage.* .hypothesis .mypy_cache .nox .pytest_cache .ruff_cache dist htmlcov db.sqlite3*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

# Only tests and `npm run build` need these: where they cannot be had, such tests are skipped; with CI set it fails.
$(MODULES): package-lock.json .npmrc
	@if command -v npm >/dev/null && npm ci --silent; then touch $@; \
	elif [ -n "$$CI" ]; then exit 1; else echo 'Without npm and its registry, tests with bundlers and frameworks are skipped.' >&2; fi
