# make demo   compare seven methods on text, images and speech, and write report.html
# make test   run every test and every notebook
# make lab    open the notebooks in JupyterLab
#
# Each creates the environment .venv first where it is missing. TORCH=cpu takes torch from its CPU index, which is
# far smaller than the CUDA build that Linux gets otherwise.

PYTHON ?= python3
TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
INDEX := $(if $(filter cpu,$(TORCH)),--extra-index-url https://download.pytorch.org/whl/cpu)
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with=tests/notebooks/sanitize.cfg

.PHONY: demo test unit notebooks lab lint execute readme clean

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

execute: $(READY)
	$(BIN)/python tools/notebooks.py

readme: $(READY)
	$(BIN)/python tools/readme.py

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(INDEX) --constraint constraints.txt --editable ".[development]"
	touch $(READY)

$(VENV)/browser: tools/install_browser.sh $(READY)
	sh tools/install_browser.sh $(BIN)/python
	touch $(VENV)/browser

clean:
	rm -rf $(VENV)
