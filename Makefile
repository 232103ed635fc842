# Every target sets up what it needs, in .venv, from the tested set.
# Needs Python 3.11 or newer and nothing else, not even a C compiler.

PYTHON ?= python3
BIN := .venv/bin
stamp = .venv/.edgec-installed-$(1)

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench update clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(call stamp,demo) ## compress, compile and time a digit recogniser
	$(BIN)/python -m examples.digits

test: $(call stamp,test) ## run all tests
	$(BIN)/python -m pytest -n 2

lint: $(call stamp,dev) ## check format, lint, types, layers and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python -m towncrier build --draft --version next >/dev/null

docs: $(call stamp,docs) ## build the documentation in docs/_build/html
	$(BIN)/python -m sphinx -W -n --keep-going -q -b html docs docs/_build/html

bench: $(call stamp,bench) ## compare with other engines on this machine
	$(BIN)/python -m benchmarks --suite spine
	$(BIN)/python -m benchmarks --suite ablation
	$(BIN)/python -m benchmarks --suite compile

update: $(call stamp,test) ## rewrite the golden files; read the diff
	$(BIN)/python -m pytest -q tests --update-golden

clean: ## remove what was built, keep .venv
	rm -rf build dist *.egg-info docs/_build docs/_generated .pytest_cache .ruff_cache
	rm -rf .hypothesis bench-output demo-output .coverage*
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgec needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

.venv/.edgec-installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv; the first time this fetches torch and takes minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e ".[$*]"
	touch $@
