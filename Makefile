# `make run` and `make test` each do all the set-up they need on a machine with Python 3.11+ and
# make. Set-up goes to .venv and is not repeated until pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv takes a quarter of pip's time, but reads none of pip's settings: other indexes, builds of torch
# for this machine. So pip installs these two, and everything where uv cannot.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt
# Without bytecode each command compiles anew what it imports, for many seconds. It is written when a
# module is first imported: to compile all that is installed takes a minute of a core.
unexport PYTHONDONTWRITEBYTECODE
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
	--editable ".[$(EXTRAS)]" || $(PIP_INSTALL) --editable ".[$(EXTRAS)]"
# Files of tests share the cores; each file stays in one process, where its fixtures are. One process
# more than cores: some wait, for a store, a scheduler or a process that they started.
TEST_PROCESSES ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST = $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadscope \
	--no-loadscope-reorder
# The one place where the study of `make run` is named.
STUDY ?= config/examples/first.yaml

# Kept: an environment is not made anew because a test failed.
.PRECIOUS: .venv-%/.installed
.PHONY: run test newest releases torture lint changes models site generated bench-data bench-labels
.PHONY: bench bench-exact bench-gpu docs notebooks screenshot setup clean

run: $(VENV)/.installed
	$(BIN)/snakemake --configfile $(STUDY)

# `make test` runs nine tests of ten, in some ten minutes on two cores. `make test TESTS=all` is what
# CI runs: also those that take long, those of a Slurm cluster (.ci/install-system-packages), and
# those against LANfactory, HSSM and without MLflow, in environments that they build for themselves.
# `make test TESTS=gpu` runs those that need a GPU, only.
TESTS ?= own
MARKS_own := not slow and not cluster and not peers and not browser and not gpu and not newest
MARKS_all := not gpu and not newest
MARKS_gpu := gpu
test: $(VENV)/.installed-dev
	$(PYTEST) -m "$(MARKS_$(TESTS))"

# The newest release of everything on newer Pythons, LANfactory and HSSM in the same environment,
# without torch, which has no small build there: tests of what they take from one another, and a cut
# of the others. `make newest NEWEST=3.13` for one of them.
NEWEST ?= 3.12 3.13
# Both have the same versions of everything. So what asks those, and not Python, runs on one: proofs
# of exact densities, the catalogue, samplers of HSSM's, what is new in the peers, the container.
NEWEST_TESTS_3.12 := tests/newest tests/unit/models
NEWEST_TESTS_3.13 := tests/newest/test_one_environment.py \
	$(filter-out %/test_catalogue.py,$(wildcard tests/unit/models/test_*.py))
newest: $(NEWEST:%=newest-%)
newest-%: .venv-%/.installed
	.venv-$*/bin/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadscope \
		--no-loadscope-reorder -m "$(MARKS_own) or newest" --junitxml=build/newest-$*.xml \
		tests/unit/test_releases.py $(NEWEST_TESTS_$*)

# docs/releases.md, from those runs and one on 3.11, whose peers have environments of their own.
releases: newest
	$(PYTEST) tests/peers tests/unit/models tests/unit/test_releases.py \
		--junitxml=build/newest-3.11.xml
	$(BIN)/python -m tests.newest.page build/newest-3.11.xml $(NEWEST:%=build/newest-%.xml)

# PYENV_VERSION is for those who have their Pythons from pyenv.
.venv-%/.installed: constraints-%.txt pyproject.toml $(VENV)/.installed-dev
	PYENV_VERSION=$* $(BIN)/uv venv --quiet --clear --python python$* .venv-$*
	$(BIN)/uv pip sync --quiet --python .venv-$*/bin/python constraints-$*.txt
	$(BIN)/uv pip install --quiet --no-deps --python .venv-$*/bin/python --editable .
	touch $@

# Kills, crowds and starves the commands, and writes what was lost to docs/torture.md (an hour or
# more): `make torture PARTS="crash disk" TRIALS=10` for less. `make test` runs a few of each.
PARTS ?=
SEED ?= 1
TRIALS ?= 50
torture: $(VENV)/.installed-dev
	$(BIN)/python -m tests.torture $(PARTS) --seed $(SEED) --trials $(TRIALS) --output docs/torture.md

# What this cluster has of its own, into profiles/slurm/site.yaml; once.
site: $(VENV)/.installed
	$(BIN)/lanflow site

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)/snakemake --lint

# The table of changes with every pair of its rows (half an hour of one core).
changes: $(VENV)/.installed-dev
	LANFLOW_EVERY_PAIR=1 $(PYTEST) tests/workflow/test_changes.py

# A network of every model through evaluation, figures and bundle (an hour of one core); one that was
# interrupted goes on.
models: $(VENV)/.installed-dev .venv-3.12/.installed
	LANFLOW_EVERY_MODEL=build/models $(PYTEST) tests/unit/test_every_model.py
	LANFLOW_EVERY_MODEL=build/models .venv-3.12/bin/python -m pytest \
		--numprocesses $(TEST_PROCESSES) tests/unit/test_every_model.py
	$(BIN)/python -m tests.every_model build/models docs/models.json
	rm -r build/models
	$(BIN)/python docs/write_reference.py

# Default configuration, schema, key and option tables, from the code.
generated: $(VENV)/.installed-dev
	$(BIN)/python docs/write_reference.py
	$(BIN)/python -m tests.workflow.changes.page

# Cost and error of labels, of a model of each family, beside ssm-simulators'; to docs/labels.md (ten
# minutes of two cores). `make bench-data MODELS="ddm levy"` measures some, and prints them.
MODELS ?=
TO_LABELS = $(if $(MODELS),--models $(MODELS),--output docs/labels.md)
bench-data: $(VENV)/.installed-dev
	$(BIN)/python bench/data.py $(TO_LABELS)

# The same network on data of the same cost from three sources of labels (half an hour).
bench-labels: $(VENV)/.installed-dev
	$(BIN)/python bench/labels.py $(TO_LABELS)

# All of it on a CPU, against LANfactory (in an environment of its own), ssm-simulators and bare
# Snakemake; to benchmarks/results.json after each part, and to docs/benchmarks.md: more than an hour
# of two cores on which nothing else runs. `make bench PARTS="training packing"` for less.
LANFACTORY = .cache/peers/lanfactory
bench: $(LANFACTORY)/made_of.sha256
	$(BIN)/python bench/run.py --lanfactory $(LANFACTORY)/bin --page docs/benchmarks.md \
		$(if $(PARTS),--parts $(PARTS))

$(LANFACTORY)/made_of.sha256: tests/peers/lanfactory.txt | $(VENV)/.installed-dev
	$(BIN)/python -c "from tests.environments import peer_environment as f; f('lanfactory')"

# Cost and error of exact densities, and differences to HSSM's, to docs/exact.md (half an hour). The
# environment that has HSSM is one of those that `make test TESTS=all` builds; REMARK="..." is a
# sentence on the machine.
HSSM_PYTHON ?= $(wildcard .cache/peers/hssm/bin/python)
bench-exact: $(VENV)/.installed-dev
	$(BIN)/python bench/exact.py $(if $(HSSM_PYTHON),--hssm $(HSSM_PYTHON)) \
		$(if $(REMARK),--remark "$(REMARK)") --output docs/exact.md

# Rows per second on this machine's GPU, beside bare loops and ceilings (five minutes).
bench-gpu: $(VENV)/.installed-dev
	$(BIN)/python bench/gpu.py --output results/bench-gpu

# The documentation as a site, in build/site.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir build/site

# The notebooks in docs/notebooks with the outputs of a whole run, in an environment with HSSM that
# is made for it (some minutes).
notebooks: $(VENV)/.installed-dev
	$(BIN)/python -m tests.notebooks

# The picture in README.md: the top of the report of what `make run` made. Needs chromium.
screenshot:
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,1080 \
		--screenshot=docs/report.png file://$(CURDIR)/results/report.html

setup: $(VENV)/.installed

$(VENV)/.installed: EXTRAS := all
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lanflow needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing lanflow and what it needs into $(VENV) (a minute or so, once)"
	@$(PIP_INSTALL) uv torch
	@$(INSTALL)
	@touch $@

$(VENV)/.installed-dev: EXTRAS := all,dev
$(VENV)/.installed-dev: $(VENV)/.installed
	@$(INSTALL)
	@touch $@

# Set-up and caches; results and the tracking store stay.
clean:
	rm -rf $(VENV) .cache .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
