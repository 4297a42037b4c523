# All commands of the project. `make help` lists them. Each command installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 8080
BACKEND ?= vllm
ARGS ?=
TESTERS ?= 2
KSTATUS_DIR ?= e2e/.recorded

PYTHON := .venv/bin/python
UV := .uv/bin/uv
CHART := charts/embedding-operator
KERNEL := $(addprefix runtime/,attention.sh hatch_build.py src/embedding_runtime/worker/backends/attention.c)
CLUSTER := e2e/cluster/cluster
JAVA_CLIENTS := $(if $(shell command -v mvn),tests/clients/java/lib/synced)

# Servers are started dozens of times, so Python must keep its bytecode.
unexport PYTHONDONTWRITEBYTECODE

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.bin:$(PATH)

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/synced ## Serve the guide's model here, without a cluster, on PORT (8080) with BACKEND (vllm or huggingface)
	@PYTHONPATH=tests $(PYTHON) tools/demo.py --backend $(BACKEND) --port $(PORT)

test: .venv/synced tests/clients/.venv/synced tests/servers/synced $(JAVA_CLIENTS) ## Run all tests that need no cluster, in TESTERS (2) processes; ARGS="-m 'not model and not slow'" skips those with a real model
	@tools/debian.sh chromedriver strace || echo "the tests of the playground, and of connections outwards, are skipped" >&2
	$(PYTHON) -m pytest -m "not slow" -n $(TESTERS) --dist worksteal $(ARGS)

test-slow: .venv/synced tests/servers/synced ## Run the tests that test skips: vLLM, memory, downloads cut 200 times (a quarter of an hour)
	$(PYTHON) -m pytest -m slow $(ARGS)

e2e: ## Start a cluster, install the chart, follow the guide, inject faults, remove the cluster (half an hour)
e2e-slow: ## Run the tests that e2e skips: long outages and upgrades (20 minutes)
e2e: E2E_TESTS := not slow_cluster
e2e-slow: E2E_TESTS := slow_cluster
e2e e2e-slow: .venv/synced
	@trap '$(CLUSTER) down' EXIT; rm -f "$(KSTATUS_DIR)"/*.json; \
	$(CLUSTER) up && $(CLUSTER) load && eval "$$($(CLUSTER) env)" && $(PYTHON) -m pytest e2e -p no:randomly \
		-m "$(E2E_TESTS)" $(ARGS)
	@# A line of its own: make runs a line that calls make even under -n, and the one above starts and stops a cluster.
	@$(MAKE) kstatus

kstatus: ## Check recorded statuses with the kstatus library: e2e/kstatus/recorded, then KSTATUS_DIR (e2e/.recorded)
	@command -v go >/dev/null || { echo "install Go 1.26, then run this again" >&2; exit 1; }
	cd e2e/kstatus && KSTATUS_DIR= go test ./...
	@[ ! -d "$(KSTATUS_DIR)" ] || { cd e2e/kstatus && KSTATUS_DIR="$(abspath $(KSTATUS_DIR))" go test -count=1 ./...; }

verify: .venv/synced .bin/helm ## Check lint, format, types, layers, generated files and the chart
	$(UV) lock --check --quiet
	ruff check --quiet .
	ruff format --check --quiet .
	mypy --no-error-summary
	lint-imports --no-cache
	$(PYTHON) -m embedding_operator crds --check .
	$(PYTHON) tools/chart_readme.py --check
	$(PYTHON) tools/rbac.py --check
	$(PYTHON) tools/openapi.py --check
	$(PYTHON) tools/api_docs.py --check
	$(PYTHON) tools/status_docs.py --check
	PYTHONPATH=tests $(PYTHON) tools/models_page.py --check
	@for values in $(CHART)/ci/*.yaml; do \
		echo "helm lint --strict --values $$values"; helm lint --quiet --strict $(CHART) --values "$$values" || exit 1; \
	done

generate: .venv/synced ## Write all generated files: CRDs, the chart's copies, RBAC rules and table of values, the HTTP API, the page of reasons
	$(PYTHON) -m embedding_operator crds --write .
	$(PYTHON) tools/chart_readme.py
	$(PYTHON) tools/rbac.py
	$(PYTHON) tools/openapi.py
	$(PYTHON) tools/api_docs.py
	$(PYTHON) tools/status_docs.py

models: .venv/synced ## Write docs/models.md: look-alikes of popular models on each backend (half an hour); ARGS=NAME prints one
	PYTHONPATH=tests $(PYTHON) tools/models_page.py $(ARGS)

format: .venv/synced ## Format the code, and fix what the linter can fix
	ruff format .
	ruff check --fix .

bench: .venv/synced .bench/infinity/synced ## Compare speed, memory and startup with other servers (half an hour)
	@tools/debian.sh wrk
	@$(UV) sync --locked --all-packages --group bench --quiet
	$(PYTHON) -m bench $(ARGS)

bench-lanes: .venv/synced ## Measure search queries next to a bulk client, on both backends (five minutes)
	@tools/debian.sh wrk
	@$(UV) sync --locked --all-packages --group bench --quiet
	$(PYTHON) -m bench.lanes $(ARGS)

bench-downloads: .venv/synced tests/servers/synced ## Compare downloads of the initializer with curl's (ten minutes)
	PYTHONPATH=tests $(PYTHON) -m bench.downloads $(ARGS)

bench-cores: .venv/synced ## Measure the runtime with 1, 2, 4... cores, and sentence-transformers (ten minutes on two cores)
	@tools/debian.sh wrk
	@$(UV) sync --locked --all-packages --group bench --quiet
	$(PYTHON) -m bench.scaling $(ARGS)

bench-gpu: ## Measure on a GPU: frontends and workers, both backends, in process; PYTHON selects another environment
	@PATH="$(CURDIR)/.bench/wrk:$$PATH"; command -v wrk >/dev/null || tools/debian.sh wrk; \
	$(PYTHON) -m bench.scaling --gpu --rounds 1 $(ARGS)

bench-operator: .venv/synced ## Measure the operator with thousands of services on the cluster of e2e (half an hour)
	@$(UV) sync --locked --all-packages --group bench --quiet
	@$(CLUSTER) up && eval "$$($(CLUSTER) env)" && kubectl apply --server-side --filename crds/ >/dev/null && \
		$(PYTHON) -m bench.operator $(ARGS)

images: ## Build the images in the running cluster
	$(CLUSTER) load

clean: ## Remove everything that was installed or built in this checkout
	rm -rf .bench .bin .uv .venv tests/clients/.venv tests/clients/java/lib tests/servers/{.venv,azurite,bin,synced} .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help demo test test-slow e2e e2e-slow kstatus verify generate models format bench bench-downloads bench-lanes bench-cores bench-gpu bench-operator images clean

$(UV): tools/debian.sh tools/uv.sh
	@tools/debian.sh gcc
	@tools/uv.sh .uv
	@touch $@

.venv/synced: $(UV) uv.lock pyproject.toml operator/pyproject.toml runtime/pyproject.toml $(KERNEL)
	@echo "setting up: Python packages into .venv (6 GB; about a minute)"
	@$(UV) sync --locked --all-packages --quiet
	@touch $@

# A separate environment, because infinity needs older packages. If it cannot be installed, the table says so.
.bench/infinity/synced: bench/infinity.txt | .venv/synced
	@echo "setting up: infinity, into .bench/infinity"
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D) && \
		$(UV) pip sync --quiet --require-hashes --python $(@D)/bin/python $< && touch $@ || rm -rf $(@D)

tests/clients/.venv/synced: tests/clients/requirements.txt | .venv/synced
	@echo "setting up: the clients that tests speak with, into tests/clients/.venv (half a GB)"
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D) && \
		$(UV) pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

# Object stores and a registry. Where npm or Go is missing, the tests of theirs are skipped.
tests/servers/synced: tests/servers/requirements.txt | .venv/synced
	@echo "setting up: object stores and a registry that tests use, into tests/servers (half a GB; two minutes)"
	@cd $(@D) && $(CURDIR)/$(UV) venv --quiet --clear --python $(CURDIR)/$(PYTHON) .venv && \
		$(CURDIR)/$(UV) pip sync --quiet --require-hashes --python .venv/bin/python requirements.txt
	@npm install --prefix $(@D)/azurite --silent --no-audit --no-fund azurite@3.37.0 || echo "no Azurite" >&2
	@GOBIN=$(CURDIR)/$(@D)/bin go install github.com/fsouza/fake-gcs-server@v1.56.1 || echo "no fake-gcs-server" >&2
	@GOBIN=$(CURDIR)/$(@D)/bin go install github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0 || echo "no gofakes3" >&2
	@GOBIN=$(CURDIR)/$(@D)/bin go install github.com/distribution/distribution/v3/cmd/registry@v3.0.0 || echo "no registry" >&2
	@touch $@

# Where there is Maven; without them their test is skipped.
tests/clients/java/lib/synced: tests/clients/java/pom.xml
	@echo "setting up: LangChain4j and Spring AI, into tests/clients/java/lib"
	@cd tests/clients/java && rm -rf lib && \
		{ mvn -B -q dependency:copy-dependencies -DoutputDirectory=lib || { rm -rf lib; mkdir -p lib; }; }
	@touch $@

# The installed helm, or that of the native cluster, or else built from source.
.bin/helm:
	@mkdir -p $(@D)
	@found=$$(eval "$$($(CLUSTER) env)"; command -v helm) && ln -s "$$found" $@ || { \
		echo "setting up: helm, from source (once; a minute or two)"; \
		command -v go >/dev/null || { echo "install helm 3 (https://helm.sh) or Go 1.26, then run this again" >&2; exit 1; }; \
		cd e2e/cluster/native/tools && CGO_ENABLED=0 go build -o $(CURDIR)/$@ helm.sh/helm/v3/cmd/helm; }
