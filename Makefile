# Each target does everything from a bare machine with Python 3.11 (or 3.12), g++ and make; a second call starts work within seconds.
#
#   make demo                    train, test and draw a TinyNet detector on built-in data, in minutes on a CPU
#   make test                    set-up, linter, types, tests
#   make test STACK=openmmlab    the same with the original mmengine, mmcv, mmdet, mmpretrain
#   make env | make lint         only the set-up | only linter and types
#   make docs                    the documentation site in site/, with an environment of its own, .venv-docs
#   make PYTHON=/path/to/python3.11 ...

PYTHON ?= python3.11
STACK ?= onedl
VENV := .venv$(if $(filter openmmlab,$(STACK)),-openmmlab)
RUN := $(VENV)/bin/python
DOCS := .venv-docs
ARGS ?=

.PHONY: demo test env lint docs

demo: env
	$(RUN) tools/demo.py $(ARGS)

test: lint
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

env:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) is not there; install Python 3.11 (with venv), or call make PYTHON=/path/to/python3.11 (or 3.12)'; exit 2; }
	@$(PYTHON) tools/setup_env.py --stack $(STACK)

docs: $(DOCS)/installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo 'docs: site/index.html'

$(DOCS)/installed: requirements/docs.txt
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install -q --disable-pip-version-check -r requirements/docs.txt
	@touch $@
