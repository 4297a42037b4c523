# Every command of the project. `make help` lists them. What a command needs and is not there, it installs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 8080
BACKEND ?= vllm

PYTHON := .venv/bin/python
UV := .uv/bin/uv
CLUSTER := e2e/cluster/cluster

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/synced ## Serve the guide's model here, without a cluster, on PORT (8080) with BACKEND (vllm or huggingface)
	@PYTHONPATH=tests $(PYTHON) tools/demo.py --backend $(BACKEND) --port $(PORT)

test: .venv/synced ## All tests that need no cluster
	$(PYTHON) -m pytest

.PHONY: help demo test

$(UV): tools/uv.sh
	@tools/uv.sh .uv
	@touch $@

.venv/synced: $(UV) uv.lock pyproject.toml operator/pyproject.toml runtime/pyproject.toml
	@echo "setting up: Python packages into .venv (6 GB; about a minute)"
	@$(UV) sync --locked --all-packages --quiet
	@touch $@
