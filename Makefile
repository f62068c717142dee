# make demo, make test: each does all of its own set-up in .venv (Python 3.11, pinned requirements, torch by pip).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SHARED ?= ../shared/data
# Two processes of one thread each; all tests of a file go to one of them, which keeps what its fixtures made.
PYTEST = QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=1 $(RUN) -m pytest Testing -q -rs -n $(TEST_PROCESSES) --dist loadfile
TEST_PROCESSES ?= 2

.PHONY: demo pictures notebook site test test-all torture package lint style quality clean

$(READY): requirements/test.txt requirements/torch.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)
	$(RUN) -m Testing.host.demo demo-output
	$(RUN) examples/demo.py -o demo-output

# The pictures of the documents that show the shipped bundle at work: overview, function, wall, scar, screenshots of the
# panel; and the agreement of ejection fractions, from its table.
pictures: demo
	$(RUN) docs/pictures/draw_overview.py demo-output/SimulatedLGE-confuda.seg.nrrd -o docs/pictures/overview.jpg
	$(RUN) docs/pictures/draw_read_outs.py
	$(RUN) docs/pictures/draw_agreement.py
	QT_QPA_PLATFORM=offscreen $(RUN) -m Testing.host.screenshots

# The example notebook with its outputs, run from top to bottom.
notebook: $(READY)
	$(RUN) examples/run_notebook.py

# The documents as a site, dist/site; a warning is an error.
site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# The quick tests: minutes. What is marked slow or torture is in pyproject.toml.
test: $(READY) style
	$(PYTEST) -m "not slow"

# Every test, with the table of what the tests below Testing/torture saw: what CI runs.
test-all: $(READY) lint
	$(PYTEST) --table out/torture.md

# Bad input, faults and hostile files alone.
torture: $(READY)
	$(PYTEST) -m torture --table out/torture.md

# The extension as Slicer's packaging lays it out, zipped: dist/ConFUDA-*.zip.
package: $(READY)
	$(RUN) package/make_package.py -o dist

# How the code is written, and whether its types fit together (mypy reads the whole package, half a minute when it is new).
lint: style
	$(RUN) -m mypy

style: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# The table of docs/results.md; needs the real data.
quality: $(READY)
	$(RUN) benchmarks/quality.py $(SHARED)/MS-CMRSeg/native -o out/quality-native

clean:
	rm -rf $(VENV) out demo-output build dist
