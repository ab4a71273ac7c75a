# A new machine needs `make run` and `make test`; `make help` lists the rest.
UV_VERSION := 0.13.9
MODEL ?= fashion-mnist-cnn
SERVE_PORT ?= 5001
DATA_PACKAGE := dataset-fashion-mnist
CRON ?= 0 3 * * 1

# Paths are relative, so that the folder's own name may hold spaces. A uv without --system-certs is too old for the lock.
INSTALLED := .venv/.installed
UV := $(if $(shell uv --system-certs --version 2>/dev/null),uv,.cache/bin/uv)
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do $$python -c \
	'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(1); print(sys._base_executable)' 2>/dev/null && break; done)
PYTHON_OR_STOP = $(or $(PYTHON),$(error error: expected Python 3.11, 3.12 or 3.13 as python3, received $(or $(shell \
	python3 -c 'import platform; print(platform.python_version())' 2>/dev/null),none); install one))

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export UV_SYSTEM_CERTS ?= true

.PHONY: help run test check format data ui serve schedule bench lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: data ## run the whole pipeline: data, training, evaluation, registration
	@.venv/bin/atelier run

test: data ## pass all tests
	@.venv/bin/pytest $(TESTS)

check: $(INSTALLED) ## lint, check formatting and types
	@ruff check . && ruff format --check . && pyright

format: $(INSTALLED) ## put the code into its form
	@ruff check --fix . ; ruff format .

ui: $(INSTALLED) ## start and open the UIs of MLflow and Prefect
	@.venv/bin/atelier ui

serve: $(INSTALLED) ## serve the champion over HTTP
	@MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlruns/mlflow.db}" MLFLOW_DISABLE_TELEMETRY=true \
	mlflow models serve -m models:/$(MODEL)@champion --env-manager local --host 127.0.0.1 --port $(SERVE_PORT)

schedule: data ## retrain on the schedule CRON, by the server that PREFECT_API_URL names
	@.venv/bin/atelier schedule --cron "$(CRON)"

bench: data ## measure every stage and both drivers
	@.venv/bin/python -m benchmarks.pipeline

data: $(INSTALLED) ## get Fashion-MNIST: Keras' download, else Debian's package
	@mkdir -p .cache
	@.venv/bin/atelier data 2>.cache/data.log || { \
		echo "Keras' download cannot be reached: getting Debian's package $(DATA_PACKAGE)"; \
		($(DEBIAN_DATA)) >.cache/apt.log 2>&1 && .venv/bin/atelier data 2>.cache/data.log; \
	} || { echo "error: expected Keras' download or Debian's $(DATA_PACKAGE) by apt-get, reached neither" \
		"(.cache/data.log and .cache/apt.log say why); put Fashion-MNIST's four IDX files into" \
		"$${KERAS_HOME:-$$HOME/.keras}/datasets/fashion-mnist" >&2; exit 1; }

# As root by apt-get install; else, or where that fails, by apt-get download, unpacked into .cache.
APT_INSTALL = DEBIAN_FRONTEND=noninteractive apt-get install -y -q $(1)
APT_INSTALL_AS_ROOT = test "$$(id -u)" = 0 && { $(APT_INSTALL) || { apt-get update -q; $(APT_INSTALL); }; }
APT_OF_ITS_OWN := apt-get -q -o Dir::State::lists="$$PWD/lists" -o Dir::Cache="$$PWD"
DEBIAN_DATA = { $(call APT_INSTALL_AS_ROOT,$(DATA_PACKAGE)); } || { \
	rm -rf .cache/apt && mkdir -p .cache/apt/lists/partial .cache/apt/archives/partial && cd .cache/apt \
	&& { $(APT_OF_ITS_OWN) update; $(APT_OF_ITS_OWN) download $(DATA_PACKAGE); } && dpkg -x $(DATA_PACKAGE)_*.deb unpacked \
	&& rm -rf ../usr && mv unpacked/usr ../usr && rm -rf ../apt; }

lock: ## resolve the environment anew
	$(UV_IF_MISSING)
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## remove the environment and caches; data, models and runs stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis

# The file .installed says that the environment is whole; one without it was left by an install that was killed.
$(INSTALLED): requirements.lock pyproject.toml
	$(UV_IF_MISSING)
	@echo "installing the environment into .venv"
	@test -e $@ || rm -rf .venv
	@$(UV) venv --quiet --allow-existing --no-python-downloads --python "$(PYTHON_OR_STOP)" .venv
	@rm -f $@
	@UV_COMPILE_BYTECODE=1 $(UV) pip sync --python .venv --require-hashes requirements.lock \
		&& $(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable . \
		|| { echo "error: the environment could not be installed, see above; is the package registry within reach?" >&2; exit 1; }
	@touch $@

# Only the finished program is moved to where it is looked for.
UV_IF_MISSING = $(if $(shell $(UV) --version 2>/dev/null),,$(INSTALL_UV))
define INSTALL_UV
@echo "installing uv $(UV_VERSION) into $(dir $(UV))"
@mkdir -p $(dir $(UV))
@venv() { "$(PYTHON_OR_STOP)" -m venv --clear .cache/uv; }; \
{ venv || { $(call APT_INSTALL_AS_ROOT,python3-venv) && venv; }; } >.cache/uv.log 2>&1 || { \
	echo "error: expected a Python that can make virtual environments, received $(PYTHON)" \
	"(.cache/uv.log says why); install uv, or Debian's python3-venv" >&2; exit 1; }
@.cache/uv/bin/python -m pip install --quiet uv==$(UV_VERSION) >.cache/uv.log 2>&1 || { \
	echo "error: expected uv $(UV_VERSION) from the package registry, received none" \
	"(.cache/uv.log says why); is the registry within reach?" >&2; exit 1; }
@mv .cache/uv/bin/uv $(UV) && rm -rf .cache/uv
endef
