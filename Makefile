# A new machine needs `make run` and `make test`; `make help` lists the rest.
UV_VERSION := 0.13.9
MODEL ?= fashion-mnist-cnn
SERVE_PORT ?= 5001
DATA_PACKAGE := dataset-fashion-mnist
CRON ?= 0 3 * * 1

BIN := $(CURDIR)/.venv/bin
INSTALLED := .venv/.installed
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& $$python -c 'import sys; print(sys.executable)' && break; done)
UV := $(or $(shell command -v uv),$(CURDIR)/.cache/uv/bin/uv)

export PATH := $(BIN):$(PATH)

.PHONY: help run test check format data ui serve schedule bench lock clean debian-data

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

run: data ## run the whole pipeline: data, training, evaluation, registration
	@atelier run

test: data ## pass all tests
	@pytest $(TESTS)

check: $(INSTALLED) ## lint, check formatting and types
	@ruff check . && ruff format --check . && pyright

format: $(INSTALLED) ## put the code into its form
	@ruff check --fix . ; ruff format .

ui: $(INSTALLED) ## start and open the UIs of MLflow and Prefect
	@atelier ui

serve: $(INSTALLED) ## serve the champion over HTTP
	@MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlruns/mlflow.db} MLFLOW_DISABLE_TELEMETRY=true \
	mlflow models serve -m models:/$(MODEL)@champion --env-manager local --host 127.0.0.1 --port $(SERVE_PORT)

schedule: data ## retrain on the schedule CRON, by the server that PREFECT_API_URL names
	@atelier schedule --cron "$(CRON)"

bench: data ## measure every stage and both drivers
	@python -m benchmarks.pipeline

data: $(INSTALLED) ## get Fashion-MNIST: Keras' download, else Debian's package
	@atelier data 2>.cache/data.log || $(MAKE) --no-print-directory debian-data || { cat .cache/data.log >&2; exit 1; }

# As root by apt-get install; else by apt-get download, with package lists of its own, unpacked into .cache.
APT_OF_ITS_OWN := -o Dir::State::lists=$(CURDIR)/.cache/apt/lists -o Dir::Cache=$(CURDIR)/.cache/apt
debian-data:
	@command -v apt-get >/dev/null || { echo "error: expected Keras' download or Debian's apt-get, received neither;" \
		"put Fashion-MNIST's four IDX files into $$HOME/.keras/datasets/fashion-mnist" >&2; exit 1; }
	@echo "Keras' download cannot be reached: getting Debian's package dataset-fashion-mnist"
	@if [ "$$(id -u)" = 0 ]; then \
		apt-get install -y -qq $(DATA_PACKAGE) >.cache/apt.log 2>&1 \
		|| { apt-get update -qq && apt-get install -y -qq $(DATA_PACKAGE); } >.cache/apt.log 2>&1; \
	else \
		mkdir -p .cache/apt/lists/partial .cache/apt/archives/partial; \
		apt-get $(APT_OF_ITS_OWN) update -qq >.cache/apt.log 2>&1; \
		(cd .cache/apt && apt-get $(APT_OF_ITS_OWN) download $(DATA_PACKAGE)) >>.cache/apt.log 2>&1 \
		&& dpkg -x .cache/apt/$(DATA_PACKAGE)_*.deb .cache; \
	fi || { echo "error: Debian's package cannot be had either; .cache/apt.log says why" >&2; exit 1; }
	@atelier data

lock: $(UV) ## resolve the environment anew
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## remove the environment and caches; data, models and runs stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): requirements.lock pyproject.toml | $(UV)
	@echo "installing the environment into .venv"
	@mkdir -p .cache
	@$(UV) venv --quiet --allow-existing --no-python-downloads --python $(PYTHON) .venv
	@UV_COMPILE_BYTECODE=1 $(UV) pip sync --python .venv --require-hashes requirements.lock
	@$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

$(UV):
	@test -n "$(PYTHON)" || { echo "error: expected Python 3.11, 3.12 or 3.13 as python3, received $$(python3 --version 2>&1 || echo none); install one" >&2; exit 1; }
	@echo "installing uv $(UV_VERSION) into .cache/uv"
	@$(PYTHON) -m venv --clear .cache/uv || { rm -rf .cache/uv; test "$$(id -u)" = 0 && apt-get install -y python3-venv && $(PYTHON) -m venv .cache/uv; } \
		|| { rm -rf .cache/uv; echo "error: expected a Python that can make virtual environments, received one that cannot; install uv, or Debian's python3-venv" >&2; exit 1; }
	@.cache/uv/bin/pip install --quiet uv==$(UV_VERSION) || { rm -rf .cache/uv; echo "error: uv could not be installed, see above; is the package registry within reach?" >&2; exit 1; }
