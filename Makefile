# Everything a new user or a developer types.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
MONTH ?= 2013-06
BIN := .venv/bin
# What stays together, tests/conftest.py says.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

.PHONY: help setup run demo demo-dvc year test check lint compile docs story lock stop clean

help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: .venv/installed ## create the environment
.venv/installed: requirements.lock pyproject.toml
	@echo "creating the environment in .venv (about 6 GB with torch)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@mkdir -p build/typing/kfp_ratchet
	@for part in components images pipelines testing; do ln -sfn ../../../$$part build/typing/kfp_ratchet/$$part; done
	@touch $@

run: setup ## train on the flights of 2013 up to MONTH, judge, promote, serve: make run MONTH=2013-07
	@$(BIN)/python examples/flights/feed.py --until $(MONTH)
	@$(BIN)/ratchet run continuous_training --config examples/flights/ratchet.yaml -p as_of=$(MONTH)

demo: setup ## replay a year of retrains, three incidents among them, and draw it on one page
	@$(BIN)/ratchet replay examples/flights

demo-dvc: setup ## the flights up to MONTH in DVC: pushed, trained on at a commit, traced back to it
	@$(BIN)/python examples/flights/demo_dvc.py --until $(MONTH)

demo-s3: setup ## the data in a versioned bucket of a server that it starts: push, train, trace, make the model again
	@$(BIN)/python examples/flights/demo_s3.py --until $(MONTH)

year: demo ## the same, kept as a page of the docs
	@cp examples/flights/.ratchet/replay/replay.html docs/year.html

test: setup ## run all tests
	$(PYTEST)

check: lint ## format, lint, types and the fast tests
	$(PYTEST) -q -m "not slow"

lint: setup ## format, lint and types, and the compiled pipelines
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ratchet lint
	$(BIN)/mypy -p kfp_ratchet.components -p kfp_ratchet.pipelines -p kfp_ratchet.testing

compile: setup ## compile the pipelines into compiled/
	$(BIN)/ratchet compile --config examples/flights/ratchet.yaml

docs: setup ## generate the pages that are made from code
	$(BIN)/python -m kfp_ratchet.pipelines.component_docs

story: setup ## live through docs/from-git-to-kubeflow.md again, and write it anew
	$(BIN)/python tests/e2e/server/story.py

IMAGE_LOCK := --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" --constraints build/pins.txt

lock: ## pin every dependency again, in the images too
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra dev pyproject.toml -o requirements.lock
	@# The images have the same versions, for their own platform only.
	sed -n 's/^\([^ #].*==.*\) \\$$/\1/p' requirements.lock > build/pins.txt
	$(BIN)/uv pip compile $(IMAGE_LOCK) --extra slim pyproject.toml -o images/slim.lock
	$(BIN)/uv pip compile $(IMAGE_LOCK) --extra slim --extra train pyproject.toml -o images/train.lock

stop: ## stop the model server that make run started
	@cd examples/flights && ../../$(BIN)/ratchet stop

clean: ## remove what runs left, the ledger and the models included
	rm -rf examples/flights/.ratchet examples/flights/data
