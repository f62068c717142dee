# make demo, make test: each does all of its own set-up in .venv (Python 3.11, pinned requirements, torch by pip).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SHARED ?= ../shared/data

.PHONY: demo test lint quality clean

$(READY): requirements/test.txt requirements/torch.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)
	$(RUN) -m Testing.host.demo demo-output
	$(RUN) examples/demo.py -o demo-output

test: $(READY) lint
	QT_QPA_PLATFORM=offscreen $(RUN) -m pytest Testing -q -rs

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# The table of docs/results.md; needs the real data.
quality: $(READY)
	$(RUN) benchmarks/quality.py $(SHARED)/MS-CMRSeg/native -o out/quality-native

clean:
	rm -rf $(VENV) out demo-output build
