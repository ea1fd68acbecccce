# What one does with this repository. `make help` lists the targets; each installs what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup format lint types test test-integration bench run-all load seed migrate-up new-service dev compose-up compose-down e2e e2e-full up down test-env-up test-env-down build-docker host-tools charts proto crds constraints secrets api-docs dashboards

UV_VERSION := 0.13.9
PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
TOOLS := $(or $(HOST_TOOLS),$(CACHE)/ecommerce-tools)
export PATH := $(CURDIR)/.venv/bin:$(TOOLS):$(PATH)
# Beyond the clone, so that the next one need not look at unchanged modules again: mypy knows them by content.
export MYPY_CACHE_DIR := $(CACHE)/ecommerce-mypy
# Where an environment forbids bytecode, each of a test run's hundreds of processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

UV := $(or $(shell command -v uv),.tools/bin/uv)
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard client/pyproject.toml e2e/pyproject.toml hack/pyproject.toml operator/pyproject.toml proto/pyproject.toml services/*/pyproject.toml))
SERVICE_MEMBERS := $(filter services/%,$(MEMBERS))
PACKAGES = $(patsubst %/__init__.py,%,$(wildcard $(MEMBERS:=/*/__init__.py)))
TEST_FOLDERS := $(wildcard client/tests hack/tests e2e/tests/integration e2e/tests/contract services/*/tests operator/tests/unit charts/tests)
# One more than there are processors, since tests wait as well; at most 4.
SIDE_BY_SIDE = --numprocesses $$(n=$$(nproc); echo $$((n < 3 ? n + 1 : 4))) --dist loadfile --no-loadscope-reorder
NONE_CHOSEN := 5
CLUSTER_TEST_FOLDERS := $(wildcard e2e/tests/cluster operator/tests/api charts/tests)
TYPED_TESTS = $(wildcard client/tests hack/tests services/*/tests operator/tests charts/tests e2e/tests)
SOURCES = git ls-files -z --cached --others --exclude-standard --deduplicate
PYTHON_SCRIPTS = { $(SOURCES) | xargs -0 grep -lsIE '^\#!.*python' || true; }
BASH_SCRIPTS = { $(SOURCES) | xargs -0 grep -lsIE '^\#!.*bash|^\# shellcheck shell=bash' || true; }
BASE = $(shell git rev-parse --quiet --verify origin/main || git rev-parse HEAD)
CRD := crds/ecommerceplatform.yaml

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  %-15s %s\n", $$1, $$2}'

up: ## nothing installed -> a kind cluster, the operator, a shop, and an order placed in it
	@hack/cluster/up

down: ## remove the cluster, its registry and the test servers
	@hack/cluster/down

setup: .venv/.stamp ## the Python environment in .venv

format: .venv/.stamp ## format the Python code and sort its imports
	ruff check --select I --fix --quiet . $$($(PYTHON_SCRIPTS))
	ruff format . $$($(PYTHON_SCRIPTS))

lint: .venv/.stamp ## style, layers, scripts, Dockerfiles, contracts, generated files
	ruff check . $$($(PYTHON_SCRIPTS))
	ruff format --check . $$($(PYTHON_SCRIPTS))
	lint-imports
	$(BASH_SCRIPTS) | xargs shellcheck --external-sources
	$(SOURCES) -- '*Dockerfile' | xargs -0 hadolint --failure-threshold warning --ignore DL3008
	buf lint proto
	buf breaking proto --against '.git#ref=$(BASE),subdir=proto'
	proto/generate --check
	client/generate --check
	charts/schemas --check
	diff <(python -m platform_operator crd) $(CRD) || { echo "$(CRD) is not current: run make crds" >&2; exit 1; }
	@! grep -hvxF -f constraints.txt services/requirements.txt operator/requirements.txt || \
	  { echo "these requirements are not in constraints.txt: run make constraints" >&2; exit 1; }

types: .venv/.stamp ## mypy --strict
	mypy $(PACKAGES)
	for script in $$($(PYTHON_SCRIPTS)); do echo "mypy $$script"; mypy "$$script"; done
	for tests in $(TYPED_TESTS); do echo "mypy $$tests"; mypy "$$tests"; done

test: .venv/.stamp host-tools charts test-env-up ## every test that needs no cluster, on real PostgreSQL, Redis, RabbitMQ and Stripe's double
	eval "$$(hack/compose/test-env env)" && pytest $(SIDE_BY_SIDE) -m 'not (cluster or slow or alone)' $(TEST_FOLDERS) $(PYTEST)
	eval "$$(hack/compose/test-env env)" && pytest -s -m 'alone and not slow' $$(grep -rl --include='test_*.py' 'mark\.alone' $(TEST_FOLDERS)) $(PYTEST) || [ $$? = $(NONE_CHOSEN) ]

e2e: .venv/.stamp charts ## the cluster suite, on the cluster of `make up`
	hack/cluster/up --no-order
	pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m 'cluster and not slow' $(CLUSTER_TEST_FOLDERS) $(PYTEST)

e2e-full: .venv/.stamp charts test-env-up ## the long tests too: a death at every point, 10,000 orders under fire
	hack/cluster/up
	pytest -m cluster $(CLUSTER_TEST_FOLDERS) $(PYTEST)
	eval "$$(hack/compose/test-env env)" && pytest -s -m 'slow and not cluster' $(TEST_FOLDERS) $(PYTEST)

test-integration: .venv/.stamp test-env-up ## all services as processes, through the gateway
	eval "$$(hack/compose/test-env env)" && pytest -m 'not slow' e2e/tests/contract e2e/tests/integration $(PYTEST)

bench: .venv/.stamp charts ## how long a shop takes to be ready: the operator against helm install
	hack/cluster/up --no-order
	e2e/bench/ready_vs_helm.py

load: .venv/.stamp ## k6 on the shop of `make run-all`: SCENARIOS="smoke load stress spike soak", by default smoke
	e2e/load/run $(SCENARIOS)

run-all: .venv/.stamp test-env-up ## the services in this terminal, restarted as they change, until Ctrl-C (FRESH=1, WITHOUT=order)
	@eval "$$(hack/compose/test-env env)" && exec python -m devtools.run_all run $(if $(FRESH),--fresh) $(addprefix --without ,$(WITHOUT))

migrate-up: .venv/.stamp test-env-up ## the databases of run-all to their newest schema (SERVICE=order: one)
	@eval "$$(hack/compose/test-env env)" && python -m devtools.run_all migrate $(addprefix --service ,$(SERVICE))

new-service: .venv/.stamp ## a service that passes every check, to begin with: NAME=coupon
	@hack/new-service $(NAME) $(addprefix --plural ,$(PLURAL))

seed: .venv/.stamp ## fill the shop of `make run-all`: products, customers, a year of orders (SEED="--products 20 --orders 50")
	@test -r .shop/local/secrets.env || { echo "there is no shop to fill: start one with make run-all" >&2; exit 1; }
	@eval "$$(hack/compose/test-env env)" && set -a && source .shop/local/secrets.env && python -m devtools.seed --history local $(SEED)

dev: ## the shop on the kind cluster, following your files, until Ctrl-C: `skaffold dev`
	@hack/cluster/dev

compose-up: ## the shop without Kubernetes, by `docker compose`, on http://localhost:8080
	@hack/compose/compose up

compose-down: ## remove it, its data included
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
	@test ! -e secrets.yaml || { echo "secrets.yaml exists already: a shop's secrets are made once" >&2; exit 1; }
	@(umask 077; charts/secrets > secrets.yaml)
	@echo "with the images in a registry of yours (hack/images/build-images --to REGISTRY):"
	@echo "helm install shop charts/platform --values secrets.yaml --set global.image.registry=REGISTRY,global.image.tag=$$(hack/images/version)"

api-docs: .venv/.stamp ## the OpenAPI documents in docs/api, from the services' code; of them the typed client
	docs/api/generate
	client/generate

proto: .venv/.stamp ## the typed stubs of the contracts
	proto/generate

crds: .venv/.stamp ## the custom resource definitions, from the operator's models
	python -m platform_operator crd > $(CRD)

dashboards: .venv/.stamp ## the Grafana dashboards, and the table of metrics in docs/operations.md, from the code
	python -m devtools.dashboards
	python -m devtools.metrics_reference --write

constraints: $(UV) ## newest versions of all dependencies: constraints.txt and the images' requirements.txt
	rm -f uv.lock
	$(UV) lock
	$(UV) export --quiet --frozen --all-packages --no-hashes --no-emit-workspace --no-header --no-annotate --output-file constraints.txt
	$(UV) export --quiet --frozen --no-dev --no-hashes --no-emit-workspace --no-header --no-annotate --output-file services/requirements.txt \
	  $(foreach member,$(SERVICE_MEMBERS),--package $$(sed -n 's/^name = "\(.*\)"/\1/p' $(member)/pyproject.toml))
	$(UV) export --quiet --frozen --no-dev --no-hashes --no-emit-workspace --no-header --no-annotate --output-file operator/requirements.txt \
	  --package platform-operator

host-tools:
	@hack/cluster/host-tools >/dev/null

.venv/.stamp: pyproject.toml constraints.txt $(MEMBERS:=/pyproject.toml) | $(UV)
	test -x .venv/bin/python || $(UV) venv --python "$$(command -v $(PYTHON))" .venv
	$(UV) pip install --python .venv --quiet --constraint constraints.txt --group dev $(addprefix --editable ./,$(MEMBERS))
	touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)
