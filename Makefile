# Everything a developer types. A fresh clone needs Python >= 3.11, a Rust toolchain and nothing else.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PYTHON ?= python3
PYTHONS ?= 3.11 3.12 3.13
PYTEST_FLAGS ?=
# The tests wait more than they count: two at a time, file by file, take half as long. 0: one after the other.
export WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

# Each recipe leaves a stamp, so that what has not changed is not done again.
TOOLS := $(VENV)/.tools
BUILT := $(VENV)/.built
KERNEL6 := $(VENV)/ipykernel6/.there
RUST := Cargo.toml $(wildcard Cargo.lock) $(shell find src -name '*.rs' 2>/dev/null)

.PHONY: help demo test test-all notebooks bench check debian-packages build wheel sdist clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BUILT)  ## one real conversation with a simulated balance, step by step
	@$(BIN)/python -m labtether demo

test: $(BUILT) $(KERNEL6)  ## cargo's tests without Python, then pytest on asyncio, uvloop and trio
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run && cargo test --doc; else cargo test; fi
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_FLAGS)

test-all: $(TOOLS)  ## one wheel, tested on every Python of $(PYTHONS) that is here
	@rm -rf dist/test-all
	$(BIN)/maturin build --release --out dist/test-all
	PYTHONS="$(PYTHONS)" tools/test-wheel dist/test-all/*.whl $(PYTEST_FLAGS)

notebooks: $(BUILT)  ## the notebooks, each from top to bottom in a kernel of its own
	$(BIN)/python -m pytest --nbmake notebooks/*.ipynb

bench: $(BUILT)  ## side by side with the peers
	@for crate in $(wildcard benchmarks/*/Cargo.toml); do $(BIN)/maturin develop --release -m $$crate || exit; done
	$(BIN)/python benchmarks/run.py

check: $(BUILT)  ## formatting, lints and types, of both languages
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --all-targets --features python -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(VENV) && bin/python -m mypy.stubtest labtether._core

debian-packages:  ## ser2net and chromium, which some tests use; without them they are skipped
	tools/debian-packages ser2net chromium

build: wheel sdist  ## a wheel and a source distribution, in dist/

wheel: $(TOOLS)  ## a wheel, proved to install and import where no Rust is
	@rm -f dist/labtether-*.whl
	$(BIN)/maturin build --release --out dist
	tools/prove-wheel $(BIN)/python dist/labtether-*.whl

sdist: $(TOOLS)
	@rm -f dist/labtether-*.tar.gz
	$(BIN)/maturin sdist --out dist

clean:  ## everything that was made here
	rm -rf .venv .venv-* dist target benchmarks/*/target .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests -name '__pycache__' -prune -exec rm -rf {} +
	rm -f python/labtether/_core*.so python/labtether/_core*.pyd

$(TOOLS): pyproject.toml tools/requirements.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "labtether needs Python 3.11 or later: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/requirements.py build test bench > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	@touch $@

$(KERNEL6): $(TOOLS) tools/kernel6  # the kernel that many still have; its tests run on both
	tools/kernel6 $(@D) $(BIN)/python

$(BUILT): $(TOOLS) $(RUST)
	$(BIN)/maturin develop --release
	@touch $@
