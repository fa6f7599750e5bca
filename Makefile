# make demo              set up, pack, train, evaluate, make a page: the synthetic set, a few minutes on two cores
# make demo DATA=PATH    the same on ten classes of Tiny ImageNet, the official zip or folder
# make test              set up, run the tests; REAL_DATA=PATH adds those on the real images
PYTHON ?= python3
BIN := .venv/bin
# Packages are installed without bytecode; where none may be written either, each process that imports torch spends two
# seconds more on it.
export PYTHONDONTWRITEBYTECODE :=

# Shards and run are named after the data, so that another DATA is another demo.
ifdef DATA
PACK := --source '$(DATA)' --classes 10
NAME := demo-$(shell printf %s '$(DATA)' | cksum | cut -d' ' -f1)
TRAIN := --stem C --epochs 10
else
PACK := --synthetic
NAME := demo
TRAIN :=
endif
SHARDS := data/$(NAME)-shards
RUN := data/runs/$(NAME)
PAGE := data/$(NAME).html

.PHONY: setup demo test faults check-bounds check-bench lint docs bench supply

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[test,dev,docs,timm]'
	touch $@

demo: setup
	test -f $(SHARDS)/manifest.json || $(BIN)/python scripts/pack.py $(PACK) --out $(SHARDS)
	$(BIN)/python -m fastwsol.train --preset demo --aug gr --shards $(SHARDS) --run-dir $(RUN) $(TRAIN)
	test -f $(PAGE) || $(BIN)/python -m fastwsol.report $(RUN) --out $(PAGE)
	@echo "the page: $(PAGE)"

# Processes that begin together would each compile the kernels, a minute of one core; and each rewrite all tests for
# pytest, half of one, which is done beside it.
kernels/__pycache__/compiled: .venv/installed $(wildcard kernels/*.py)
	$(BIN)/python -m pytest --collect-only -q >/dev/null 2>&1 & \
	OMP_WAIT_POLICY=passive $(BIN)/python tests/compile_kernels.py && wait
	touch $@

# Four workers, each a file at a time: on two cores two of them mostly wait for a disk or a process. Their threads wait
# asleep, since spinning would keep the others' cores busy. The longest files come first (tests/conftest.py), so that no
# worker begins one when the others are done.
test: setup kernels/__pycache__/compiled
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(if $(REAL_DATA),--real-data=$(REAL_DATA))

# The full number of faults, for an hour or two; what became of them is written to bench/results/faults.md.
faults: setup
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 3 --dist loadfile tests/faults --full --faults-table=bench/results/faults.md

# The kernels once more, every index checked. (Compiled so, they must not be taken from the cache, nor be put there; less
# optimising spares half of the time and no check.)
check-bounds: setup
	cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
	OMP_WAIT_POLICY=passive NUMBA_OPT=1 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$cache" $(BIN)/python -m pytest -q $(filter-out %_compiling.py,$(wildcard tests/test_kernels_*.py))

# The sides of every benchmark give the same results; nothing is timed.
check-bench: setup
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest bench -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy bench
	$(BIN)/lint-imports

# The documentation: docs/_build/html/index.html. A broken link is an error.
docs: setup
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

bench: setup
	$(BIN)/python -m pytest bench --benchmark-only

# What the pinned packages may be used for, and whether one of them is known to be vulnerable (asks PyPI).
supply: setup
	$(PYTHON) -m venv .venv/supply
	.venv/supply/bin/python -m pip install --quiet pip-audit pip-licenses
	.venv/supply/bin/pip-licenses --python $(BIN)/python --from=mixed --with-urls --format=markdown \
	--ignore-packages fastwsol --output-file bench/results/licences.md
	.venv/supply/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip
