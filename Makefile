# Every target works in .venv, which is made on first use and renewed when a lock file changes: what runs on a CPU for
# `make demo` and `make emulator`, and PyTorch and the tools as well for the other targets.
PYTHON ?= python3
# Some containers set this. Without bytecode each of the emulator's processes would compile all its packages again.
export PYTHONDONTWRITEBYTECODE :=
VENV := .venv
STEP :=
RUN := $(VENV)/bin/python
DEFACER := $(VENV)/bin/defacer
BOOTSTRAPPED := $(VENV)/.bootstrapped
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
TOOLS := $(VENV)/tools
TOOLS_STAMP := $(TOOLS)/.installed
# For what runs before the project is installed. It needs no package.
UNINSTALLED := PYTHONPATH=functions:local_emulator
INSTALL := VIRTUAL_ENV=$(VENV) $(UNINSTALLED) $(RUN) -m defacer_emulator.setup.install $(VENV)/bin/uv
LOCKING := --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
IMAGE_LOCKS := infra/locks/base.lock infra/locks/cpu.lock infra/locks/cuda12.lock infra/locks/cuda13.lock
CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "De-facer needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Choose one: make PYTHON=python3.12")'

# A variable from the command line as one word of the shell, whatever characters it has.
quoted = '$(subst ','\'',$(value $(1)))'

.DEFAULT_GOAL := help
# Prerequisites run in their order, also with -j: `demo` checks its arguments before anything is installed.
.NOTPARALLEL:

$(BOOTSTRAPPED): requirements-bootstrap.lock
	@$(CHECK_PYTHON)
	@echo $(STEP) "Creating $(VENV) with the installer uv (25 MB) ..."
	@$(RUN) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@touch $@

$(STAMP): requirements.lock pyproject.toml $(BOOTSTRAPPED)
	@echo $(STEP) "Installing packages into $(VENV): 270 MB to download, 1 GB on disk ..."
	@$(INSTALL) pip install --require-hashes -r requirements.lock
	@$(VENV)/bin/uv pip install --python $(VENV) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(STAMP)
	@echo "Installing PyTorch and the tools into $(VENV): 3 GB to download, 6.5 GB on disk ..."
	@$(INSTALL) pip install --require-hashes -r requirements-dev.lock
	@touch $@

# In a folder of their own: a package that is only there for the tools changes what other packages import.
$(TOOLS_STAMP): $(DEV) requirements-tools.lock
	@echo "Installing the packages of make fuzz and make sbom into $(TOOLS) ..."
	@$(INSTALL) pip install --target $(TOOLS) --require-hashes -r requirements-tools.lock
	@touch $@

.PHONY: torch
torch: $(DEV)  ## install PyTorch too (6.5 GB): for a GPU, --detector mtcnn, --recognizer facenet-vggface2, and for make test

.PHONY: lock
lock: $(BOOTSTRAPPED)  ## write the lock files again from pyproject.toml
	$(VENV)/bin/uv pip compile pyproject.toml --extra emulator --extra gpu --group build --group lock --group dev $(LOCKING) -o requirements-dev.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra emulator --group build --group lock --constraint requirements-dev.lock $(LOCKING) -o requirements.lock
	$(VENV)/bin/uv pip compile --group tools --constraint requirements-dev.lock $(LOCKING) -o requirements-tools.lock
	@$(MAKE) --no-print-directory $(IMAGE_LOCKS)

.PHONY: help
help:  ## print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: STEP := 1/5
demo: check-demo $(STAMP)  ## the whole path on this machine: [VIDEO=in.mp4] [TARGET=me.jpg] [MODE=blur] [REPLACEMENT=smiley.png] [OUT=out.mp4] [FORCE=1]
	@echo $(STEP) "Packages are installed."
	@$(DEFACER) emulator demo $(if $(value VIDEO),--video=$(call quoted,VIDEO)) $(if $(value TARGET),--keep=$(call quoted,TARGET)) \
		$(if $(value MODE),--mode=$(call quoted,MODE)) $(if $(value REPLACEMENT),--replacement=$(call quoted,REPLACEMENT)) $(if $(value OUT),--out=$(call quoted,OUT)) \
		$(if $(FORCE),--force)

.PHONY: check-demo
check-demo:
	@test -x $(RUN) || $(CHECK_PYTHON)
	@$(UNINSTALLED) $(or $(wildcard $(RUN)),$(PYTHON)) -m defacer_emulator.setup.preflight --video=$(call quoted,VIDEO) --target=$(call quoted,TARGET) \
		--mode=$(call quoted,MODE) --replacement=$(call quoted,REPLACEMENT) --out=$(call quoted,OUT) $(if $(FORCE),--force)

.PHONY: emulator
emulator: $(STAMP)  ## start the emulator and follow its logs; Ctrl-C stops it: [WORKERS=1] [PUBSUB=auto|google|builtin] [CHAOS=seed] [OPEN=1] [RELOAD=1] [CONSOLE_PORT=8080] [LIVE_PORT=8081] [STORAGE_PORT=4443] [PUBSUB_PORT=8085]
	@$(DEFACER) emulator up $(if $(WORKERS),--workers "$(WORKERS)") $(if $(PUBSUB),--pubsub "$(PUBSUB)") \
		$(if $(CHAOS),--chaos "$(CHAOS)") $(if $(OPEN),--open) $(if $(RELOAD),--reload) \
		$(if $(CONSOLE_PORT),--port "console=$(CONSOLE_PORT)") $(if $(LIVE_PORT),--port "live=$(LIVE_PORT)") \
		$(if $(STORAGE_PORT),--port "storage=$(STORAGE_PORT)") $(if $(PUBSUB_PORT),--port "pubsub=$(PUBSUB_PORT)") \
		$(if $(BROWSER_STORAGE_PORT),--port "browser-storage=$(BROWSER_STORAGE_PORT)")

# A file's tests stay in one worker, because they share emulators and models. The files run in the order of tests/conftest.py.
# More workers than cores: many tests wait for a server, a browser or a stream. Four workers take 9 GB.
PYTEST := -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=10

.PHONY: test
test: $(DEV)  ## the tests, except the slow ones: [TESTS="tests/engine -k blur"]
	@$(RUN) $(PYTEST) -m "not slow" $(or $(TESTS),tests)

.PHONY: test-slow
test-slow: $(DEV)  ## the slow tests; with BUDGET, starts no test after that many seconds: [BUDGET=600]
	@$(RUN) $(PYTEST) -m slow $(if $(BUDGET),--budget "$(BUDGET)") $(or $(TESTS),tests)

.PHONY: test-all
test-all: test test-slow  ## all tests

.PHONY: coverage
coverage: $(DEV)  ## the lines that no test runs, by the tests of unit, engine, functions, console and commands
	@$(VENV)/bin/coverage erase
	@$(VENV)/bin/coverage run $(PYTEST) -m "not slow" $(or $(TESTS),tests/unit tests/engine tests/functions tests/console tests/commands)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

# Run the demo and tests on another Python, in an environment of its own: $(1) is its series, $(2) the tests, $(3) the
# target. On Python 3.12 and newer, sys.monitoring measures the coverage at almost no cost.
define test_on
	@found=$$($(RUN) -m tests.newest_python $(1)) || exit 1; \
	series=$${found%% *}; python=$${found#* }; \
	if test -z "$$found"; then echo "Skipped: this machine has no $(if $(1),Python $(1),supported Python newer than that of $(VENV))."; exit 0; fi; \
	echo "Using Python $$series ($$python) in .venv-$$series"; \
	COVERAGE_CORE=sysmon $(MAKE) --no-print-directory VENV=".venv-$$series" PYTHON="$$python" demo $(3) TESTS="$(2)"
endef

.PHONY: test-newest-python
test-newest-python: $(BOOTSTRAPPED)  ## the demo and the engine's tests with their coverage on the newest supported Python of this machine, in its own environment
	$(call test_on,,tests/engine,coverage)

.PHONY: test-python
test-python: $(BOOTSTRAPPED)  ## the demo and the tests on another Python of this machine: SERIES=3.12 [TESTS="tests/unit"]
	$(call test_on,$(or $(SERIES),$(error Name a Python: make test-python SERIES=3.12)),$(or $(TESTS),tests),test)

.PHONY: lint
lint: $(DEV)  ## lint, format, types and prose; changes nothing
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { echo "Not formatted as ruff does: run $(VENV)/bin/ruff format ."; exit 1; }
	@$(VENV)/bin/mypy
	@$(RUN) -m tests.prose

.PHONY: check
check: lint test  ## the gate: lint, format, types, prose, tests; changes nothing

.PHONY: quality
quality: $(DEV)  ## real clips and other targets, judged by their pixels, ~9 min; DEFACER_EVAL=FOLDER names them
	@$(RUN) -m tests.quality

.PHONY: quality-all
quality-all: $(DEV)  ## also public clips, which are fetched (150 MB), and other programs; hours: [ONLY=clips|composites|other-programs]
	@$(RUN) -m tests.quality.everything $(if $(ONLY),--only "$(ONLY)")

.PHONY: soak
soak: $(DEV)  ## many short jobs under faults of all kinds: [SEED=7] [JOBS=200] [MINUTES=20]
	@$(RUN) -m tests.soak $(if $(SEED),--seed "$(SEED)") $(if $(JOBS),--jobs "$(JOBS)") $(if $(MINUTES),--minutes "$(MINUTES)")

.PHONY: protocol
protocol: $(DEV)  ## 20,000 interleavings of the functions, with crashes and faults: [N=20000] [SEED=0]
	@$(RUN) -m tests.protocol $(if $(N),--interleavings "$(N)") $(if $(SEED),--seed "$(SEED)")

.PHONY: benchmark
benchmark: $(DEV)  ## speed and memory against other programs, ~40 min: [PAIRS=5] [ONLY=transcode] [WORK=FOLDER]
	@$(RUN) -m tests.benchmarks $(if $(PAIRS),--pairs "$(PAIRS)") $(if $(ONLY),--only "$(ONLY)") \
		$(if $(WORK),--work "$(WORK)")

.PHONY: load
load: $(DEV)  ## 1,000 segments in one job and 200 jobs at once, with a worker that only copies: [SEGMENTS=1000] [JOBS=200]
	@$(RUN) -m tests.load $(if $(SEGMENTS),--segments "$(SEGMENTS)") $(if $(JOBS),--jobs "$(JOBS)")

.PHONY: fuzz
fuzz: $(TOOLS_STAMP)  ## look for inputs that break a promise, with atheris: [MINUTES=5] [ONLY=policy]
	@PYTHONPATH=$(TOOLS) $(RUN) -m tests.fuzz --minutes "$(or $(MINUTES),5)" $(if $(ONLY),--only "$(ONLY)")

.PHONY: sbom
sbom: $(TOOLS_STAMP)  ## write the bill of materials: packages by hash, model weights by hash
	@PYTHONPATH=$(TOOLS) $(RUN) -m infra.bill_of_materials

.PHONY: capacity
capacity: $(DEV)  ## simulate cost and capacity again: infra/CAPACITY.md
	@$(RUN) -m infra.capacity

.PHONY: reference
reference: $(DEV)  ## write the generated parts of the documentation
	@$(RUN) -m tests.reference

.PHONY: picture
picture: $(DEV)  ## make the README's pictures again
	@$(RUN) -m tests.drawn_clip demo/drawn.mp4 demo/woman.png
	@$(DEFACER) emulator demo --video demo/drawn.mp4 --keep demo/woman.png --out demo/drawn-result.mp4 --force
	@cp demo/before_and_after.png local_emulator/before_and_after.png
	@$(RUN) -m tests.console.picture

.PHONY: deploy
deploy:  ## build and run it all on Google Cloud: PROJECT=... REGION=... [WORKER=cpu|gpu] [CUDA=12|13] [TAG=an earlier build's] [BUILD_REGION=...]
	@PROJECT="$(PROJECT)" REGION="$(REGION)" WORKER="$(WORKER)" TAG="$(TAG)" CUDA="$(CUDA)" BUILD_REGION="$(BUILD_REGION)" \
		infra/deploy.sh deploy

.PHONY: destroy
destroy:  ## remove it all from Google Cloud; asks first: PROJECT=... REGION=...
	@PROJECT="$(PROJECT)" REGION="$(REGION)" infra/deploy.sh destroy

# What the images install. Versions are the tested ones, but for a PyTorch of another CUDA and what it brings along.
OTHERWISE := cuda|nvidia|triton
infra/locks/cuda12.lock: OTHERWISE := cuda|nvidia|triton|torch
infra/locks/cpu.lock: infra/locks/base.in
infra/locks/cuda12.lock infra/locks/cuda13.lock: infra/locks/models.in infra/locks/cpu.in infra/locks/base.in
$(IMAGE_LOCKS): infra/locks/%.lock: infra/locks/%.in requirements-dev.lock | $(BOOTSTRAPPED)
	@grep -E '^[a-z0-9.-]+==' requirements-dev.lock | grep -vE '^($(OTHERWISE))' | sed 's/ \\$$//' > .image-pins.txt \
		&& $(VENV)/bin/uv pip compile $< --constraints .image-pins.txt --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
			--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file $@; \
		status=$$?; rm -f .image-pins.txt; exit $$status

.PHONY: image-sizes
image-sizes: $(DEV)  ## install what each image installs, measure, and write it down; 9 GB of disk for a while
	@$(RUN) -m infra.image_sizes

.PHONY: pin-base
pin-base:  ## write today's digest of the images' base into infra/Dockerfile; needs docker with buildx
	@digest=$$(docker buildx imagetools inspect python:3.11-slim-bookworm --format '{{.Manifest.Digest}}') \
		&& sed -i.old "s|^\(FROM python:3.11-slim-bookworm@\)[^ ]*|\1$$digest|" infra/Dockerfile && rm infra/Dockerfile.old \
		&& echo "infra/Dockerfile: $$digest"

.PHONY: clean
clean:  ## stop the emulator; delete all files of the emulator, the demo and the tools, but not the environments
	@if test -f .emulator/state.json; then $(DEFACER) emulator down; fi
	@rm -rf bill-of-materials.cdx.json .coverage .coverage.* .emulator demo .screenshots .fuzz .hypothesis .pytest_cache .mypy_cache .ruff_cache
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
