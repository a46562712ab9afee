# `make` or `make help` lists the targets. Only Python 3.11, pip, make and git are needed: the rest is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # which containers often set: each process would compile all that it imports, for seconds
.DEFAULT_GOAL := help
.PHONY: help install install-dev install-cluster portable repro notes seeds same tune dashboard ui server test test-thorough test-all test-slow bench lint format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

repro: .venv/installed  ## run every stage that is out of date, then write the report and print a summary
	@xtcav validate
	dvc repro
	@xtcav report --summary

notes: .venv/installed  ## repeat the experiments of the 2016 notes without the long ones; NAME=... that one, SEEDS=1 by seeds
	@xtcav experiment --check
ifeq ($(NAME),delay-run70)  # its shots are no part of the project: no DVC, which would keep what is made of them
	@$(if $(FOLDER),xtcav import lcls2017 '$(FOLDER)')
	@xtcav experiment $(NAME) --data
	@xtcav experiment $(NAME)
else
	@dvc --cd experiments repro $(if $(SEEDS),--glob 'seeds@$(or $(NAME),*)-*',$(if $(NAME),long@$(NAME),train measure))
endif
	@xtcav experiment --table

seeds: repro  ## train the default network with each seed of compare.seeds: mean and spread
	@xtcav seeds --check
	@dvc --cd seeds repro
	@xtcav report
	@xtcav seeds

same: .venv/installed  ## keep the outputs if the edited code gives the same bytes as the committed code
	@xtcav same

tune: .venv/installed  ## search hyperparameters with Optuna (needs the prepared data of `make repro`)
	@xtcav tune

dashboard: .venv/installed  ## Optuna's dashboard of the searches, at http://127.0.0.1:8080
	@xtcav dashboard

ui: .venv/installed  ## the MLflow UI on this project's runs, at http://127.0.0.1:5000
	@xtcav ui

server: .venv/installed-server  ## an MLflow server for a team, with PostgreSQL (MLFLOW_AUTH_ADMIN_PASSWORD in the environment)
	@exec python -m server

# A worker that crashes ends the tests: xdist may otherwise wait for its files without end. So does a test that takes half an
# hour, with the lines where all threads are: the longest takes some minutes.
PYTEST = pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
	-o faulthandler_timeout=1800 -o faulthandler_exit_on_timeout=true --durations 20 --durations-min 5
test: .venv/installed-dev  ## the tests of an ordinary change, with one real `dvc repro` (3 to 8 minutes on two cores)
	@$(PYTEST) -m "not thorough and not slow"

test-thorough: .venv/installed-dev  ## kills, servers, browsers, full disks, other backends; properties with more examples
	@$(PYTEST) -m "(thorough or hypothesis) and not slow" --hypothesis-profile ci

test-all: test test-thorough  ## both: before a merge

test-slow: .venv/installed-dev  ## the tests that take minutes each
	@pytest -m slow

bench: .venv/installed-bench  ## measure beside other libraries and the machine's limits -> benchmarks/RESULTS.md (after `make repro`)
	@python -m benchmarks

lint: .venv/installed-dev  ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

format: .venv/installed-dev  ## let ruff lay out the code
	@ruff check --fix .
	@ruff format .

install: .venv/installed  ## what the pipeline needs, into .venv
install-dev: .venv/installed-dev  ## and what developers need
install-cluster: .venv/installed-cluster  ## and what `xtcav tune --workers` and `--cluster` need

# A lock that has changed brings its versions in; the checkout itself is installed so that edits count at once. No file of
# .venv keeps the path of this folder (PORTABLE): a moved project works on, and a copied one runs its own code.
.venv/installed: requirements.txt pyproject.toml
	@python=$$(command -v $(BIN)/python || echo $(PYTHON)); \
	found=$$($${python:-python3.11} -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1 | tail -n 1); \
	test "$$found" = 3.11 || { echo "$${python:-python3.11}: wrong Python (found $$found, expected 3.11)." \
	"Fix: get Python 3.11 (packages python3.11 and python3.11-venv, conda install python=3.11, or uv python install" \
	"3.11), then run \`rm -rf .venv; make PYTHON=python3.11 $(MAKECMDGOALS)\`" >&2; exit 1; }
	@test -x $(BIN)/python || { rm -f $(BIN)/python*; $(PYTHON) -m venv .venv; } || { rm -rf .venv; exit 1; }
	@echo "installing into .venv (some 3.5 GB, a few minutes the first time)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(MAKE_PORTABLE)
	$(COMPILE)
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	@$(PIP) --require-hashes -r requirements-dev.txt
	@$(MAKE_PORTABLE)
	@touch $@

.venv/installed-server: .venv/installed requirements-server.txt
	@$(PIP) --require-hashes -r requirements-server.txt
	@$(MAKE_PORTABLE)
	@touch $@

.venv/installed-cluster: .venv/installed requirements-cluster.txt
	@$(PIP) --require-hashes -r requirements-cluster.txt
	@$(MAKE_PORTABLE)
	@touch $@

.venv/installed-bench: .venv/installed-dev benchmarks/requirements.txt
	@$(PIP) -r benchmarks/requirements.txt || echo "PyTorch: not installed. Fix: see above; the benchmark leaves it out" >&2
	@$(MAKE_PORTABLE)
	@touch $@

# What the first `make repro` would compile or look up, once: Python's modules, by all processors, where pip takes one; our
# convolutions; matplotlib's list of fonts.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
define COMPILE
@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' .venv/lib/python3*/site-packages src || true
@$(BIN)/python -m xtcav_ml.learning.compile_ahead || true
@$(BIN)/python -c 'import matplotlib.font_manager' || true
endef

# Programs find Python in their own folder, `activate` finds .venv around itself, and Python finds src beside .venv.
define PORTABLE
1s|^#!/.*/python[0-9.]*$$|#!/bin/sh\n'''exec' "$$(dirname "$$(realpath "$$0")")/python" "$$0" "$$@"\n' '''|
2s|^'''exec' "?/.*|'''exec' "$$(dirname "$$(realpath "$$0")")/python" "$$0" "$$@"|
s|^VIRTUAL_ENV=['"]?/.*|VIRTUAL_ENV="$$(dirname "$$(dirname "$$(realpath "$${BASH_SOURCE:-$$0}")")")"|
s|^/.*/src$$|../../../../src|
endef
export PORTABLE
FIXED = grep -sIlE "^(.!/.*/python|'''exec' \"?/|VIRTUAL_ENV=['\"]?/)" $(BIN)/*
MAKE_PORTABLE = sed -i -E "$$PORTABLE" $$($(FIXED)) .venv/lib/python3*/site-packages/_editable_impl_*.pth

portable:
	@$(MAKE_PORTABLE)
ifneq ($(shell $(FIXED)),)  # installed before, or by hand
.venv/installed: | portable
endif

LOCK = uv pip compile --quiet --no-header --no-annotate --generate-hashes --python-version 3.11 pyproject.toml
lock: .venv/installed-dev  ## choose library versions again and write the lock files
	$(LOCK) --extra build -o requirements.txt --upgrade
	$(LOCK) --extra build --extra dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) --extra build --extra server -c requirements.txt -o requirements-server.txt
	$(LOCK) --extra build --extra cluster -c requirements.txt -o requirements-cluster.txt
	$(LOCK) --extra build --extra jax -c requirements.txt -o requirements-jax.txt
	$(LOCK) --extra build --extra cuda -c requirements.txt -o requirements-cuda.txt

clean:  ## remove caches and the environment; data, models and runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
