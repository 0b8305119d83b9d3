# Two commands are all the set-up there is: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test up down chaos cluster-test install lint clean

demo: install
	$(BIN)/modelyard run

# Three processes, though two cores are enough: much of the time is waiting for Ray, Prefect and DVC. A file's tests in one of them, long files first
# (tests/conftest.py). Compiled modules are kept: the tests start hundreds of processes.
test: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Prefect server, process worker and Ray head on loopback, with the deployments of prefect.yaml; prints what a shell needs to use them (infra/README.md).
up: install
	$(BIN)/python -m infra.stack up

down:
	$(BIN)/python -m infra.stack down

# kill -9 at every step of every stage, on whoever works there: some hundred cells, an hour or two. `python -m tests.chaos train ray` plays a part.
chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos

# A Ray cluster over hosts that are killed, cut off and added while it trains: network namespaces, which need root and iproute2; half an hour (docs/cluster.md).
cluster-test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cluster

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
