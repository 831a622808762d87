PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
export DETECTRON2_DATASETS ?= $(CURDIR)/datasets

.PHONY: setup demo test soak lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev,export]'
	touch $@

demo: setup
	$(BIN)/python tools/quick_start.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

soak: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/python tools/list_large_pieces.py

clean:
	rm -rf $(VENV) build dist *.egg-info
