# Two commands: `make book` runs every notebook at the quick profile and builds the book; `make test` checks everything.
# Both install into .venv first, once. PYTHON names another interpreter, PIP_EXTRA adds options to pip:
#   make book PYTHON=python3.12 PIP_EXTRA='--find-links wheels'
SHELL := /bin/bash
PYTHON ?= python3
PIP_EXTRA ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
# Where the tests leave how long they took.
TEST_ROOT := _build/test

.PHONY: help book test clean

help:
	@echo 'make book   run the notebooks (quick profile) and build the book: _build/html/index.html'
	@echo 'make test   lint, tests, every notebook (smoke profile), the book with warnings as errors, a browser'
	@echo 'make clean  list what runs, caches and builds hold; make clean YES=--yes removes it'

book: $(INSTALLED)
	$(BIN)/pkd reproduce --profile quick
	$(BIN)/pkd book

test: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf $(TEST_ROOT)
	mkdir -p $(TEST_ROOT)
	@date +%s > $(TEST_ROOT)/began
	PKD_PEAK=$(TEST_ROOT)/peak $(BIN)/pytest
	@echo "{\"test_seconds\": $$(( $$(date +%s) - $$(cat $(TEST_ROOT)/began) ))," \
	  "\"test_peak_memory_mib\": $$(cat $(TEST_ROOT)/peak)}" > $(TEST_ROOT)/timings.json

clean: $(INSTALLED)
	$(BIN)/pkd clean $(YES)

$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/pip --version > /dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "make: Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." \
	      "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear .venv; }
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_EXTRA) -c constraints.txt -e '.[train,pretrained,book,grid,test]'
	@touch $@
