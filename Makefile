# One door for people. `make demo` is the tour; everything else is below.
.DEFAULT_GOAL := help
.PHONY: help setup up down demo test check fmt native bench docs ci clean lock
SHELL := /bin/bash
NAME ?= wirtdev
PY := .venv/bin/python
SOURCES := .
C_FILES := $(wildcard native/*/*.[ch] tests/*/*.c)
export PATH := $(PATH):/usr/sbin:/sbin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## packages, Python environment, native programs, guest kernel, user wirt
	@tools/setup

up: setup ## start helper and daemon of this checkout, with two images; use bin/wirt
	@$(PY) tools/instance.py up --name $(NAME)

down: ## stop them and every guest; the state stays in .wirt/
	@$(PY) tools/instance.py down --name $(NAME)

demo: setup ## the tour: one image as container, microVM and VM
	@$(PY) tools/demo.py

test: setup ## all tests: native, unit, architecture, integration, e2e (TESTS=path for some)
	@$(if $(TESTS),,$(if $(wildcard native/Makefile),$(MAKE) -s -C native test))
	@$(PY) -m pytest --durations=15 $(TESTS)

check: setup ## format, lint, types, contracts, C format, budgets
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(if $(C_FILES),clang-format --dry-run -Werror $(C_FILES))
	$(PY) -m pytest tests/architecture

fmt: ## format everything
	$(PY) -m ruff format $(SOURCES)
	$(PY) -m ruff check --fix -q $(SOURCES)
	$(if $(C_FILES),clang-format -i $(C_FILES))

native: ## build keeper and agent, run their C tests, fuzz the codec for some seconds
	@tools/setup native
	@$(MAKE) -s -C native test fuzz FUZZ_SECONDS=5

bench: setup ## measure the promises (PEERS=1 installs and measures docker and podman beside)
	@$(PY) bench/run.py $(if $(PEERS),--peers)

docs: setup ## generate the reference pages
	@$(PY) tools/reference.py

ci: ## what the CI runs
	@bash .ci/run

clean: down ## stop, and remove everything that was built or stored here
	rm -rf build .venv .wirt .mypy_cache .ruff_cache .pytest_cache .hypothesis
