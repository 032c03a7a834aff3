# make demo   compare seven methods on text, images and speech, and write report.html
# make test   run every test and every notebook
# make lab    open the notebooks in JupyterLab
# make bench  measure speed and memory against plain scripts (hours; parts: tests/bench/run.py --help)
# make evidence        make what data/evidence lacks, and write its page (hours; goes on where it stopped;
#                      EXPERIMENTS="sizes shift" makes these alone)
# make evidence-check  train a sample of the recorded experiments again and compare (minutes; CHECK=20 takes more)
#
# Each creates the environment .venv first where it is missing. TORCH=cpu takes torch from its CPU index, which is
# far smaller than the CUDA build that Linux gets otherwise.

PYTHON ?= python3
TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
INDEX := $(if $(filter cpu,$(TORCH)),--extra-index-url https://download.pytorch.org/whl/cpu)
HAS_PIP := $(BIN)/python -c 'import pip' 2>/dev/null
CHECK ?= 6
EXPERIMENTS ?=
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with=tests/notebooks/sanitize.cfg

.PHONY: demo test unit notebooks lab lint bench evidence evidence-check execute readme clean

demo: $(READY)
	$(BIN)/python -m ftkit demo

test: unit notebooks

unit: $(READY) $(VENV)/browser
	$(BIN)/python -m pytest tests

notebooks: $(READY)
	$(BIN)/python -m ftkit fetch
	$(BIN)/python -m pytest $(NBVAL) notebooks

lab: $(READY)
	$(BIN)/python -m jupyterlab notebooks

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python tools/readme.py --check
	$(BIN)/python tools/binder.py --check
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/python tests/bench/run.py page --check

bench: $(READY)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python tests/bench/run.py all

evidence: $(READY)
	$(BIN)/python tools/evidence.py make $(EXPERIMENTS)

evidence-check: $(READY)
	$(BIN)/python tools/evidence.py check --count $(CHECK)

execute: $(READY)
	$(BIN)/python tools/notebooks.py

readme: $(READY)
	$(BIN)/python tools/readme.py

$(READY): pyproject.toml constraints.txt
	@$(HAS_PIP) || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "ftkit needs Python 3.11 to 3.13. Name one: make ... PYTHON=python3.12"; exit 1; }
	$(HAS_PIP) || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install $(INDEX) --constraint constraints.txt --editable ".[development]"
	touch $(READY)

$(VENV)/browser: tools/install_browser.sh $(READY)
	sh tools/install_browser.sh $(BIN)/python
	touch $(VENV)/browser

clean:
	rm -rf $(VENV)
