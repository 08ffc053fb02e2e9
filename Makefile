# Each target does everything from a bare machine with Python 3.11, g++ and make; a second call starts work within seconds.
#
#   make demo                    train, test and draw a TinyNet detector on built-in data, about 5 minutes on a CPU
#   make test                    set-up, linter, types, tests
#   make test STACK=openmmlab    the same with the original mmengine, mmcv, mmdet, mmpretrain
#   make env | make lint         only the set-up | only linter and types
#   make PYTHON=/path/to/python3.11 ...

PYTHON ?= python3.11
STACK ?= onedl
VENV := .venv$(if $(filter openmmlab,$(STACK)),-openmmlab)
RUN := $(VENV)/bin/python
ARGS ?=

.PHONY: demo test env lint

demo: env
	$(RUN) tools/demo.py $(ARGS)

test: lint
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

env:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) is not there; install Python 3.11 (with venv), or call make PYTHON=/path/to/python3.11'; exit 2; }
	@$(PYTHON) tools/setup_env.py --stack $(STACK)
