# `make help` lists the targets; each installs what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' Makefile)

UV_VERSION := 0.13.9
PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
TOOLS := $(or $(HOST_TOOLS),$(CACHE)/ecommerce-tools)
export PATH := $(CURDIR)/.venv/bin:$(TOOLS):$(PATH)
# Outside of the clone, so that the next clone reuses it: mypy identifies modules by content.
export MYPY_CACHE_DIR := $(CACHE)/ecommerce-mypy
# Without bytecode, each of a test run's hundreds of processes would compile all its imports.
unexport PYTHONDONTWRITEBYTECODE

UV := $(or $(shell command -v uv),.tools/bin/uv)
PROJECTS := $(wildcard $(addsuffix /pyproject.toml,backup client e2e hack kubectl operator proto services/*))
MEMBERS := $(PROJECTS:/pyproject.toml=)
SERVICE_MEMBERS := $(filter services/%,$(MEMBERS))
PACKAGES = $(patsubst %/__init__.py,%,$(wildcard $(MEMBERS:=/*/__init__.py)))
# In this order: what takes long in one piece comes first, and short files at the end keep all workers busy.
TEST_FOLDERS := $(wildcard e2e/tests/integration e2e/tests/contract charts/tests operator/tests/unit hack/tests) \
  $(wildcard backup/tests client/tests kubectl/tests services/*/tests)
# One worker more than processors, since tests also wait; at most 4.
PARALLEL = --numprocesses $$(n=$$(nproc); echo $$((n < 3 ? n + 1 : 4))) --dist loadfile --no-loadscope-reorder
NO_TESTS_SELECTED := 5
TEST_ENV = eval "$$(hack/compose/test-env env)"
CLUSTER_TEST_FOLDERS := $(wildcard e2e/tests/cluster operator/tests/api charts/tests)
TYPED_TESTS = $(wildcard $(addsuffix /tests,backup client kubectl hack services/* operator charts e2e))
SOURCES = git ls-files -z --cached --others --exclude-standard --deduplicate
PYTHON_SCRIPTS = { $(SOURCES) | xargs -0 grep -lsIE '^\#!.*python' || true; }
BASH_SCRIPTS = { $(SOURCES) | xargs -0 grep -lsIE '^\#!.*bash|^\# shellcheck shell=bash' || true; }
BASE = $(shell git rev-parse --quiet --verify origin/main || git rev-parse HEAD)
CRD := crds/ecommerceplatform.yaml

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-16s %s\n", $$1, $$2}'

up: ## a kind cluster, the operator, a shop, and an order placed in it
	@hack/cluster/up

down: ## remove the cluster, its registry and the test servers
	@hack/cluster/down

setup: .venv/.stamp ## the Python environment in .venv; PYTHON=python3.13 makes it of the Python that the images run

format: .venv/.stamp ## format the Python code and sort its imports
	ruff check --select I --fix --quiet . $$($(PYTHON_SCRIPTS))
	ruff format . $$($(PYTHON_SCRIPTS))

lint: .venv/.stamp ## style, language, layers, scripts, Dockerfiles, contracts, generated files
	ruff check . $$($(PYTHON_SCRIPTS))
	ruff format --check . $$($(PYTHON_SCRIPTS))
	lint-imports
	python -m devtools.language_check --commits $(BASE)..HEAD
	$(BASH_SCRIPTS) | xargs shellcheck --external-sources
	$(SOURCES) -- '*Dockerfile' | xargs -0 hadolint --failure-threshold warning --ignore DL3008
	buf lint proto
	buf breaking proto --against '.git#ref=$(BASE),subdir=proto'
	proto/generate --check
	client/generate --check
	charts/schemas --check
	python -m devtools.settings_reference --check
	diff <(python -m platform_operator crd) $(CRD) || { echo "$(CRD) is not current: run make crds" >&2; exit 1; }
	hack/cluster/host-tools >/dev/null
	manifests/generate --check
	@! grep -hvxF -f constraints.txt {services,operator,backup}/requirements.txt || \
	  { echo "these requirements are not in constraints.txt: run make constraints" >&2; exit 1; }

types: .venv/.stamp ## mypy --strict
	mypy $(PACKAGES)
	for script in $$($(PYTHON_SCRIPTS)); do echo "mypy $$script"; mypy "$$script"; done
	for tests in $(TYPED_TESTS); do echo "mypy $$tests"; mypy "$$tests"; done

test: .venv/.stamp host-tools charts test-env-up ## every test that needs no cluster, on real servers
	$(TEST_ENV) && pytest $(PARALLEL) -m 'not (cluster or slow or alone)' $(TEST_FOLDERS) $(PYTEST)
	alone=$$(grep -rl --include='test_*.py' 'mark\.alone' $(TEST_FOLDERS)); \
	  $(TEST_ENV) && pytest -s -m 'alone and not slow' $$alone $(PYTEST) || [ $$? = $(NO_TESTS_SELECTED) ]

e2e: .venv/.stamp charts ## the cluster suite, on the cluster of `make up`
	hack/cluster/up --no-order
	pytest --verbose --numprocesses 2 --dist loadscope --no-loadscope-reorder -m 'cluster and not slow' \
	  $(CLUSTER_TEST_FOLDERS) $(PYTEST)

e2e-full: .venv/.stamp charts test-env-up ## the slow tests too: a crash at every point, a chaos run, an hour's soak
	hack/cluster/up
	hack/cluster/simulated-tools >/dev/null
	pytest -m cluster $(CLUSTER_TEST_FOLDERS) $(PYTEST)
	$(TEST_ENV) && pytest -s -m 'slow and not cluster' $(TEST_FOLDERS) $(PYTEST)

test-integration: .venv/.stamp test-env-up ## all services as processes, through the gateway
	$(TEST_ENV) && pytest -m 'not slow' e2e/tests/contract e2e/tests/integration $(PYTEST)

bench: .venv/.stamp ## this shop beside its peers, by one client: BENCH="--rounds 1 --targets shop floor" (BENCH=--help)
	python -m shop_e2e.bench $(BENCH)

bench-ready: .venv/.stamp charts ## how long a shop takes to be ready: the operator against helm install
	hack/cluster/up --no-order
	e2e/bench/ready_vs_helm.py

bench-operator: .venv/.stamp charts host-tools ## the operator with many simulated shops: BENCH="--shops 5 --quick"
	hack/cluster/simulated-tools >/dev/null
	python -m shop_e2e.bench_operator $(BENCH)

soak-operator: .venv/.stamp charts host-tools ## two operators and disturbed shops: SOAK="--shops 20 --minutes 60"
	hack/cluster/simulated-tools >/dev/null
	python -m shop_e2e.soak_operator $(SOAK)

load: .venv/.stamp ## k6 on the shop of `make run-all`: SCENARIOS="smoke load stress spike soak", by default smoke
	e2e/load/run $(SCENARIOS)

run-all: .venv/.stamp test-env-up ## the services in this terminal, restarted as they change (FRESH=1, WITHOUT=order)
	@$(TEST_ENV) && exec python -m devtools.run_all run \
	  $(if $(FRESH),--fresh) $(addprefix --without ,$(WITHOUT))

migrate-up: .venv/.stamp test-env-up ## the databases of run-all to their newest schema (SERVICE=order: one)
	@$(TEST_ENV) && python -m devtools.run_all migrate $(addprefix --service ,$(SERVICE))

new-service: .venv/.stamp ## create a service that passes every check: NAME=coupon
	@hack/new-service $(NAME) $(addprefix --plural ,$(PLURAL))

seed: .venv/.stamp ## fill the shop of `make run-all` with a year of data (SEED="--products 20 --orders 50")
	@test -r .shop/local/secrets.env || { echo "no shop runs: start one with make run-all" >&2; exit 1; }
	@$(TEST_ENV) && set -a && source .shop/local/secrets.env && \
	  python -m devtools.seed --history local $(SEED)

dev: ## the shop on the kind cluster, following your files, until Ctrl-C: `skaffold dev`
	@hack/cluster/dev

compose-up: ## the shop without Kubernetes, by `docker compose`, on http://localhost:8080
	@hack/compose/compose up

compose-down: ## remove it with its data
	@hack/compose/compose down

test-env-up: ## PostgreSQL, Redis and RabbitMQ for tests
	@hack/compose/test-env up

test-env-down: ## remove them
	@hack/compose/test-env down

build-docker: ## the images, on the engine
	hack/cluster/docker-engine
	hack/images/base-images
	hack/cluster/host-tools
	hack/images/build-images --no-push

charts: ## the charts' dependencies (file://), into charts/*/charts
	@charts/build

secrets: charts ## a values file of random secrets for `helm install`: secrets.yaml
	@test ! -e secrets.yaml || { echo "secrets.yaml exists: a shop's secrets are generated once" >&2; exit 1; }
	@(umask 077; charts/secrets > secrets.yaml)
	@echo "with the images in your registry (hack/images/build-images --to REGISTRY):"
	@echo "helm install shop charts/platform --values secrets.yaml" \
	  "--set global.image.registry=REGISTRY,global.image.tag=$$(hack/images/version)"

api-docs: .venv/.stamp ## the OpenAPI documents in docs/api, from the services' code, and the typed client
	docs/api/generate
	client/generate

proto: .venv/.stamp ## the typed stubs of the contracts, and the definitions of the broker
	proto/generate
	python -m devtools.broker_definitions --write

crds: .venv/.stamp ## the custom resource definitions, from the operator's models
	python -m platform_operator crd > $(CRD)
	for kind in Tenant TenantPlan PlatformBackup PlatformRestore; do \
	  python -m platform_operator crd $$kind > crds/$$(tr A-Z a-z <<<$$kind).yaml; done
	python -m platform_operator policy > charts/operator/files/tenantpolicy.yaml
	@$(MAKE) --no-print-directory manifests

manifests: .venv/.stamp host-tools ## the files that install the operator without Helm, and the CRDs in its chart
	manifests/generate

dashboards: .venv/.stamp ## the Grafana dashboards and the table of metrics in docs/operations.md, from the code
	python -m devtools.dashboards
	python -m devtools.metrics_reference --write

EXPORT = $(UV) export --quiet --frozen --no-hashes --no-emit-workspace --no-header --no-annotate
settings: .venv/.stamp ## the reference of all settings, docs/settings.md, from the code
	python -m devtools.settings_reference --write

constraints: $(UV) ## newest versions of all dependencies: constraints.txt and the images' requirements.txt
	rm -f uv.lock
	$(UV) lock
	$(EXPORT) --all-packages --output-file constraints.txt
	$(EXPORT) --no-dev --output-file services/requirements.txt \
	  $(addprefix --package ,$(patsubst chassis-service,chassis,$(notdir $(SERVICE_MEMBERS:=-service))))
	$(EXPORT) --no-dev --output-file operator/requirements.txt --package platform-operator
	$(EXPORT) --no-dev --output-file backup/requirements.txt --package platform-backup

host-tools:
	@hack/cluster/host-tools >/dev/null

.venv/.stamp: pyproject.toml constraints.txt $(MEMBERS:=/pyproject.toml) | $(UV)
	test -x .venv/bin/python || $(UV) venv --python "$$(command -v $(PYTHON))" .venv
	$(UV) pip install --python .venv --quiet --constraint constraints.txt --group dev \
	  $(addprefix --editable ./,$(MEMBERS))
	touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)
