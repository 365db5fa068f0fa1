# make demo   export the real model of examples/ and print how far it drifted
# make test   every test
# make lint   ruff, and mypy --strict on the installed wheel
# make conformance  ONNX's own node tests, and docs/conformance.md anew
# make bench  speed, memory and size as ratios
# make check-arm  emitted files on emulated ARM cores beside this machine's outputs
#
# Needs Python >= 3.11 and make, nothing else; everything is installed into .venv. Another interpreter than the
# one found: make demo PYTHON=/path/to/python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGING := pyproject.toml setup.py constraints.txt
EXAMPLE := examples/fashion_mnist

.PHONY: demo test lint conformance bench check-arm clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(BIN)/edgeport export --config $(EXAMPLE)/edgeport.toml --out demo-out

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build $(VENV)/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir $(VENV)/wheel . > $(VENV)/wheel.log 2>&1 || { cat $(VENV)/wheel.log; exit 1; }
	rm -rf build
	$(PIP) --no-deps --target $(VENV)/wheel/installed $(VENV)/wheel/*.whl
	cd $(VENV)/wheel && MYPYPATH=installed ../bin/mypy --config-file ../../pyproject.toml --strict -p edgeport

conformance: $(VENV)/dev.stamp
	$(BIN)/python -m tests.conformance

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/run.py

check-arm: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/check_arm.py $(ARTIFACTS)

clean:
	rm -rf $(VENV) build demo-out

$(VENV)/demo.stamp: $(PACKAGING) | $(BIN)/python
	@echo "installing edgeport[tflite,coreml] into $(VENV) (once)"
	@$(PIP) --editable ".[tflite,coreml]"
	@touch $@

$(VENV)/dev.stamp: $(PACKAGING) | $(BIN)/python
	@echo "installing edgeport[dev] into $(VENV) (once; torch is large)"
	@$(PIP) --editable ".[dev]" setuptools
	@touch $@ $(VENV)/demo.stamp

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14 python; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; then \
	    echo "creating $(VENV) with $$("$$python" --version)"; \
	    rm -rf $(VENV); \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "no Python >= 3.11 with the venv module was found: install one (on Debian also python3-venv)," \
	  "or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
