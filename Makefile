# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
WORKERS ?= auto
BENCHMARKS ?= coverage random_programs weight_matching annealing training mnist matchers

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo install test lint wheel docs bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/core.stamp ## install, then align and merge two small networks into demo-out/
	$(BIN)/onebasin demo --out demo-out

install: $(VENV)/dev.stamp ## install everything that the checks need into .venv

# One thread for each pytest worker, and none that spins while it waits. The suite builds the
# documentation, strictly too.
test: export OMP_NUM_THREADS = 1
test: export OMP_WAIT_POLICY = PASSIVE
test: lint ## install the extras, then run every check and the whole suite
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses=8 --dist=worksteal

lint: $(VENV)/dev.stamp ## style, types, the layers contract and the prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_prose.py

wheel: $(VENV)/dev.stamp ## build the wheel and the sdist, and run the README from the wheel
	$(BIN)/python scripts/check_wheel.py

docs: $(VENV)/dev.stamp ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/bench.stamp ## run the benchmarks; they write docs/benchmarks/*.md
	@for name in $(BENCHMARKS); do \
		echo "$(BIN)/python benchmarks/$$name.py"; \
		$(BIN)/python benchmarks/$$name.py || exit 1; \
	done

clean: ## remove what was built, but not .venv
	rm -rf build dist site demo-out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# torch goes first and alone: pip then takes the build this machine is set up for (or keeps
# the one already in .venv), and torchvision, whose wheel names one torch, accepts it.
$(VENV)/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onebasin needs Python 3.11 or newer: make PYTHON=/path/to/python3.13")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	@touch $@

$(VENV)/core.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --quiet -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --quiet -e '.[vision,hub,dev]'
	@touch $(VENV)/core.stamp $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(PIP) --quiet -e '.[vision,hub,dev,bench]'
	@touch $@
