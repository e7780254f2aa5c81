# Each target first makes .venv with what it needs. `make CONSTRAINTS=` installs without the pinned versions.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt

bin := $(VENV)/bin
# Pinned too: what builds the package (pip reads these two in its build environment, older and newer versions of it).
export PIP_CONSTRAINT := $(CONSTRAINTS)
export PIP_BUILD_CONSTRAINT := $(CONSTRAINTS)
# One mark for each extra and each state of the files that decide what is installed.
state := $(shell cat pyproject.toml $(CONSTRAINTS) | cksum | cut -d ' ' -f 1)
train := $(VENV)/.train-$(state)
gym := $(VENV)/.gym-$(state)
test := $(VENV)/.test-$(state)
docs := $(VENV)/.docs-$(state)
# vLLM wants other versions of several packages: it has an environment, and pins, of its own.
engines := .venv-vllm/.installed-$(shell cat constraints-vllm.txt | cksum | cut -d ' ' -f 1)

.PHONY: demo test quick lint bench battery serve docs system engines

demo: $(gym)
	@$(bin)/likelier demo

test: $(test) system lint
	@$(bin)/pytest -n 2 -m "not battery and not engine"

quick: $(test)
	@$(bin)/pytest -n 2 -m "not slow and not battery and not engine"

lint: $(test)
	@$(bin)/ruff check --no-cache
	@$(bin)/ruff format --check --quiet --no-cache
	@$(bin)/mypy --num-workers 2

battery: $(test)
	@$(bin)/pytest -m battery --timeout 3600 || [ $$? -eq 5 ]  # 5: no such test yet

bench: $(train)
	@$(bin)/python bench/all.py

docs: $(docs)
	@$(bin)/mkdocs build --strict --quiet
	@echo "the pages: site/index.html"

engines: $(engines)
	@echo "vLLM: .venv-vllm; its tests: $(bin)/pytest -m engine"

$(engines): export PIP_CONSTRAINT :=
$(engines): export PIP_BUILD_CONSTRAINT :=
$(engines): constraints-vllm.txt
	@echo "installing vLLM into .venv-vllm; the first time takes minutes and 3 GB"
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps -r constraints-vllm.txt
	@.venv-vllm/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --editable .
	@.venv-vllm/bin/python -c "import torch, vllm" > /dev/null
	@touch $@

serve: $(train)
	@$(bin)/likelier serve --db feedback.db --open

$(VENV)/.%-$(state):
	@echo "installing into $(VENV); the first time takes minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(bin)/python -m pip install --quiet --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

# System packages that some tests need: only for CI, as root on Debian. A person's machine is left alone.
system:
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  absent=; \
	  ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || absent="$$absent postgresql"; \
	  command -v chromium > /dev/null || absent="$$absent chromium"; \
	  command -v strace > /dev/null || absent="$$absent strace"; \
	  if [ -n "$$absent" ]; then \
	    echo "installing$$absent"; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$absent > /dev/null; \
	  fi; \
	fi
