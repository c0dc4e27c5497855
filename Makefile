# make demo   prompts streaming live through a real worker
# make test   lint, types, import layers, sizes, all tests
# Both do all their own set-up: they need Python 3.11 or newer, make and a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_LOCK := ops/lock/run.txt
DEV_LOCK := ops/lock/dev.txt

.PHONY: demo test check bench faults audit lock clean

demo: $(VENV)/run.stamp
	$(BIN)/python ops/demo.py

# Tests wait more than they work: one process more than there are cores.
TESTERS = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

test: check
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadscope --no-loadscope-reorder

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy worker models ops tests
	$(BIN)/lint-imports
	$(BIN)/python ops/check_sizes.py

bench: $(VENV)/dev.stamp
	$(BIN)/python -m ops.bench

faults: $(VENV)/dev.stamp
	$(BIN)/python -m tests.faults.long

# Every locked version that runs, by PyPI's advisories. Without --strict what cannot be asked about
# is passed over, and a PyPI out of reach looks like a clean bill.
audit: $(VENV)/dev.stamp
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r $(RUN_LOCK) --progress-spinner off || \
		{ echo "make audit: a version is vulnerable, or PyPI (pypi.org/pypi/NAME/VERSION/json) could" \
		"not be asked about all; the lines above say which" >&2; exit 1; }

# The lock files name versions and hashes, and no registry.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

lock:
	$(LOCK) --extra build pyproject.toml -o $(RUN_LOCK)
	$(LOCK) --extra build --extra dev pyproject.toml -o $(DEV_LOCK)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python $(RUN_LOCK) pyproject.toml
	$(BIN)/python -m pip install --quiet --require-hashes -r $(RUN_LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python $(DEV_LOCK) pyproject.toml
	$(BIN)/python -m pip install --quiet --require-hashes -r $(DEV_LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
