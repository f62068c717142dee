# make demo, make test: each does all of its own set-up in .venv (Python 3.11, pinned requirements, torch by pip).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SHARED ?= ../shared/data

.PHONY: demo test torture package lint quality clean

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

# Bad input, faults and hostile files, with the table of docs/reliability.md.
torture: $(READY)
	QT_QPA_PLATFORM=offscreen $(RUN) -m Testing.torture -o out/torture.md

# The extension as Slicer's packaging lays it out, zipped: dist/ConFUDA-*.zip.
package: $(READY)
	$(RUN) package/make_package.py -o dist

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# The table of docs/results.md; needs the real data.
quality: $(READY)
	$(RUN) benchmarks/quality.py $(SHARED)/MS-CMRSeg/native -o out/quality-native

clean:
	rm -rf $(VENV) out demo-output build dist
