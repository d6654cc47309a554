# What can be done here. `make` alone lists it. Nothing but this file, `.ci/run` and a person calls these tools.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The system's Python if it is new enough, else the newest on the PATH; asked only when it is needed.
PYTHON ?= $(firstword $(foreach p,/usr/bin/python3 python3.13 python3.12 python3.11 python3,$(shell \
	$(p) -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)))
UV ?= $(shell command -v uv || echo uv)
ENGINE ?= lab
DOCUMENT ?=
CLIENT = $(if $(filter current,$(ENGINE)),docker,stack/lab/lab docker 1 --)
SUITE := $(BIN)/pytest -q --no-header
CODE := operator tests stack/lab
PYPROJECT := pyproject.toml

.PHONY: test-loop test-workers help venv format lint lint-form lint-types lint-imports check test test-fast test-histories sim test-sim test-seeds test-mutants test-parts test-lab packages demo soak bench lab-up lab-down images crds \
	images-lab images-current status lock reconcile-once clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/ready ## Make .venv with the locked tools (again only when a lock has changed)

$(VENV)/ready: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make venv: no Python 3.11 or newer here; install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || stack/lab/setup.sh python3-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

format: venv ## Put the code into its form
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: lint-form lint-types lint-imports ## Form, ruff, mypy strict, import contracts

lint-form: venv
	@wrong=0; $(BIN)/ruff format --check $(CODE) || wrong=1; $(BIN)/ruff check $(CODE) || wrong=1; exit $$wrong

lint-types: venv
	@wrong=0; echo "mypy operator stack/lab"; $(BIN)/mypy || wrong=1; \
	MYPYPATH=operator:stack/lab $(BIN)/mypy -p swarmlab || wrong=1; \
	for folder in $$(find tests -name '*.py' -printf '%h\n' | sort -u); do \
		base=.; [ -e $$folder/__init__.py ] || base=$$folder; \
		echo "mypy $$folder"; \
		MYPYPATH=operator:stack/lab:$$base $(BIN)/mypy --explicit-package-bases --no-error-summary $$folder/*.py || wrong=1; \
	done; exit $$wrong

lint-imports: venv
	$(BIN)/lint-imports --no-cache

check: venv ## All that needs no root, no Docker, no PostgreSQL; under a minute on two idle cores
	@$(MAKE) --no-print-directory --keep-going --jobs=4 --output-sync=target \
		test-workers test-loop test-histories lint test-fast

test-fast: venv
	$(SUITE) -m 'not postgres and not haproxy and not promtool and not lab' --ignore=tests/sim --ignore=tests/loop

WORKERS := tests/loop/test_worker.py tests/loop/test_wishes.py

test-loop: venv
	$(SUITE) tests/loop $(WORKERS:%=--ignore=%)

test-workers: venv # of these most only wait, so they go beside the others
	$(SUITE) $(WORKERS)

test-histories: venv
	$(SUITE) tests/sim --ignore=tests/sim/test_mutants.py

test-sim: venv ## Over a thousand histories (SEEDS=1200) and every rule undone once; under five minutes on two idle cores
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-seeds test-mutants

test-seeds: venv
	$(BIN)/python -m pgswarm.sim --seeds $(or $(SEEDS),1200) --jobs 1 --safety

test-mutants: venv
	$(SUITE) tests/sim/test_mutants.py

sim: venv ## Histories of a whole site in virtual time: SEEDS=1000 FIRST=0 JOBS=2; or SEED=17 to have one told (LOGS=1)
	@$(BIN)/python -m pgswarm.sim $(if $(SEED),--seed $(SEED) $(if $(LOGS),--logs),--seeds $(or $(SEEDS),1000) \
		--first $(or $(FIRST),0) $(if $(JOBS),--jobs $(JOBS)))

.PHONY: sim-mutants
sim-mutants: venv ## Undo each rule by itself, and say which told history or seed shows it
	@$(BIN)/python -m tests.sim.undone

.PHONY: model
model: venv ## Every state of a small world: MEMBERS=2 MINUTES=10, MORE='--terms 3 --crashes 1 …'; prints the shortest fault
	@$(BIN)/python -m pgswarm.sim.model --members $(or $(MEMBERS),2) --minutes $(or $(MINUTES),10) $(MORE)

# After check three lanes side by side, each on a lab of its own, for its tests mostly wait; two of these labs go when they are
# done. A fourth at once would make everybody late on two cores.
test: packages ## Everything, on a Debian 12 as root: check, then the real Swarm beside real PostgreSQL, HAProxy and the seeds
	@failed=""; \
	$(MAKE) --no-print-directory check || failed=" check"; \
	$(MAKE) --no-print-directory --keep-going --jobs=4 lane-lab lane-days lane-more lane-histories || failed="$$failed lanes"; \
	if [ -n "$$failed" ]; then echo "== failed:$$failed (see above)"; exit 1; fi; echo "== all suites passed"

# Three real Swarms share two cores here, and now and then a wait ends in vain: one of ours, of the lab's program, or of the browser.
# Such a test, and no other failure, is tried once more, at most two of a lane; what it said first is printed, and the summary names
# it (RERUN): it may be a defect that is rarely seen. Each wait has an end of its own; pytest's is only there against what hangs.
IN_VAIN := --reruns 1 --max-suite-reruns 2 --only-rerun '^(Broken|TimeoutError): not within' \
	--only-rerun 'waited [0-9]+ s in vain for' --only-rerun '^AssertionError: Locator expected' -raR -o timeout=1800

DAYS := dashboard disks doctor moves people rolls verbs
OTHERS := async docs doctor_swarm drill takeover
lane-days: TESTS := $(DAYS)
lane-more: TESTS := $(OTHERS)
lane-days: ITS_OWN := PGSWARM_LAB=labdays PGSWARM_LAB_NET=10.213.12.0
lane-more: ITS_OWN := PGSWARM_LAB=labmore PGSWARM_LAB_NET=10.213.14.0

.PHONY: lane-lab lane-days lane-more lane-histories
lane-lab: venv
	@$(BIN)/pytest --no-header -v $(IN_VAIN) -m lab tests/lab $(patsubst %,--ignore=tests/lab/test_%.py,$(DAYS) $(OTHERS)) 2>&1 | \
		sed --unbuffered 's/^/lab   | /'

lane-more: BEFORE := $(MAKE) --no-print-directory test-parts
lane-days lane-more: venv
	@bad=0; { $(or $(BEFORE),true) || bad=1; \
		$(ITS_OWN) $(BIN)/pytest --no-header -v $(IN_VAIN) -m lab $(TESTS:%=tests/lab/test_%.py) || bad=1; \
		$(ITS_OWN) stack/lab/lab down || bad=1; exit $$bad; } 2>&1 | sed --unbuffered 's/^/$(@:lane-%=%)  | /'

# Linux shares the processor out by session, and by control group, before it looks at any process: whoever is to have only what is
# left needs a session of its own (proc_sys_kernel(5), autogroup). Within the shell's, the histories took half of it from the labs.
LEFTOVERS := { echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 chrt --idle 0

lane-histories: venv
	@{ setsid sh -c '$(LEFTOVERS) $(MAKE) --no-print-directory --keep-going test-seeds test-mutants' & it=$$!; \
		trap 'kill -- -$$it 2>/dev/null || :' EXIT; wait $$it; } 2>&1 | sed --unbuffered 's/^/histories | /'

packages:
	stack/lab/setup.sh

# They mostly wait for a PostgreSQL, each for its own; so one half goes beside the other.
HALF := $(wildcard tests/member/test_[a-h]*.py)
ON_REAL_PARTS := $(SUITE) -m '(postgres or haproxy or promtool) and not lab'

.PHONY: test-parts-half test-parts-rest
test-parts: venv
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target test-parts-half test-parts-rest

test-parts-half: venv
	$(ON_REAL_PARTS) $(HALF)

test-parts-rest: venv
	$(ON_REAL_PARTS) $(HALF:%=--ignore=%)

test-lab: venv
	$(SUITE) -m lab

demo: venv images ## The whole story with a writing client; ENGINE=current for the engine of this shell
	$(BIN)/python stack/demo.py --engine $(ENGINE)

soak: venv ## Random faults on the lab for MINUTES (60) under a writing client; SEED and ONLY=kind,kind narrow it
	$(BIN)/python stack/soak.py --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) --only "$(ONLY)"

bench: venv ## Measure every aim on the lab and make docs/benchmarks.md; PARTS=floor,clone,… and QUICK=1 narrow it
	$(BIN)/python -m tests.bench --parts "$(PARTS)" $(if $(QUICK),--quick)

status: ## What the operator on this engine (ENGINE=lab: on the lab's first node) says of its clusters
	@$(CLIENT) exec $$($(CLIENT) ps --quiet --filter label=com.docker.swarm.service.name=pgswarm_operator | head -n 1) \
		pgswarm status

lab-up: ## Start a real Swarm of three nodes on this machine (root)
	stack/lab/lab up

lab-down: ## Stop it and remove everything it made
	stack/lab/lab down

images: images-$(ENGINE) ## Build the images of operator, member and router for ENGINE

images-lab: lab-up
	stack/lab/lab images

images-current:
	for image in operator member router; do \
		docker build --quiet -f stack/images/Dockerfile --target $$image -t pgswarm/$$image:dev .; \
	done

crds: venv ## Generate crds/ from the models
	$(BIN)/pgswarm schema > crds/postgrescluster.schema.json

.PHONY: reference
reference: venv ## Generate docs/reference/ from the models and the verbs
	mkdir -p docs/reference
	$(BIN)/pgswarm manual document > docs/reference/document.md
	$(BIN)/pgswarm manual commands > docs/reference/commands.md
	$(BIN)/python -m tests.monitoring.reference > docs/reference/metrics.md

lock: venv ## Resolve the requirements anew, with hashes and without index addresses
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra build --extra client -o requirements.lock $(PYPROJECT)
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra dev -o requirements-dev.lock $(PYPROJECT)

reconcile-once: venv ## One pass by hand from this manager, over the documents in force or over DOCUMENT=path
	$(BIN)/pgswarm reconcile --once $(DOCUMENT)

clean: ## Remove what the tools have left here; not the lab (make lab-down)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build artefacts
	find operator tests stack -name __pycache__ -type d -prune -exec rm -rf {} +
