# make demo    set up, run the demo world to its report
# make demo-iddpm  the same with noise prediction instead of rectified flow, an hour
# make demo-wan  the same with a small transformer of Wan, docs/open_models.md
# make demo-wan-lora  a Wan that never saw yellow, then adapters that teach it yellow
# make setup   set up
# make test    set up, run the tests; WORKERS=8 files of tests side by side instead of 2
# make long    the tests that `make test` leaves out for their time, six minutes
# make faults  run every fault of docs/reliability.md: kills, signals, full disks; hours
# make cluster start a SLURM on this machine (root, slurm-wlm, munge) and run the tests of it
# make cluster-faults  everything that goes wrong on a cluster, docs/cluster.md; an hour or two; one
#              test also needs slurmdbd and mariadb-server
# make stores  fetch from an S3 that moto plays here, with the packages of the extra s3; a minute
# make gpu     on a machine with a GPU: its tests, kernels and training steps, six minutes
# make matrix  run the tests as other processors, thread counts and ffmpegs would
# make fuzz SECONDS=600 SEED=0  hostile inputs by the thousand, docs/security.md
# make lint    style, types, workflow
# make versions  state that edited code gives the results it gave (core/versions.py)
# make pictures  take the pictures of the documentation anew, after make demo; needs chromium
# make vendor  renew the libraries that the report ships (npm), opensora/report/vendor/table.csv
# make lock    renew requirements/lock.txt

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONWARNINGS := ignore::DeprecationWarning

.PHONY: setup demo demo-iddpm demo-wan demo-wan-lora test long faults cluster cluster-faults stores gpu matrix fuzz map versions lint pictures vendor lock clean

setup: $(READY)

demo: $(READY)
	snakemake --profile profiles/local all --configfile configs/workflow/demo.yaml

demo-iddpm: $(READY)
	snakemake --profile profiles/local all --configfile configs/workflow/demo_iddpm.yaml

demo-wan: $(READY)
	snakemake --profile profiles/local all --configfile configs/workflow/demo_wan.yaml

demo-wan-lora: $(READY)
	snakemake --profile profiles/local results/demo_wan/models/vae --configfile configs/workflow/demo_wan.yaml
	snakemake --profile profiles/local all --configfile configs/workflow/demo_wan_base.yaml
	snakemake --profile profiles/local all --configfile configs/workflow/demo_wan_lora.yaml

# side by side by file: what a file's tests share is made once; in the order of tests/conftest.py
WORKERS ?= 2
test: $(READY)
	pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore=tests/slurm

cluster: $(READY)
	pytest tests/slurm

cluster-faults: $(READY)
	pytest -m faults tests/slurm

long: $(READY)
	pytest -n $(WORKERS) --dist loadfile -m long

faults: $(READY)
	pytest -m "faults or not faults" tests/hostile/faults

stores: $(READY)
	python -m pip install --quiet --disable-pip-version-check --upgrade --target build/stores \
		s3fs==2026.9.0 "moto[server]==5.2.5"
	PYTHONPATH=build/stores pytest tests/unit/curation/fetch/test_stores.py

gpu: $(READY)
	sh tests/gpu.sh

matrix: $(READY)
	python tests/matrix.py

SECONDS ?= 600
SEED ?= 0
fuzz: $(READY)
	python -m tests.hostile.fuzz --seconds $(SECONDS) --seed $(SEED)

map: $(READY)
	python tests/package_map.py

versions: $(READY)
	python -m tests.stage_code

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint --configfile configs/workflow/demo.yaml --config container=docker://opensora

# --no-deps: the lock file is complete, and colossalai's own pins would undo it
$(READY): requirements/lock.txt pyproject.toml workflow/plugins/pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--editable . --editable workflow/plugins
	touch $@

pictures: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/app.txt
	python -m tests.pictures

vendor: $(READY)
	python -m tests.vendor

lock: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	uv pip compile pyproject.toml --extra dev --override requirements/overrides.txt --universal \
		--python-version 3.11 --no-emit-index-url --no-annotate --no-header -o requirements/lock.txt
	# what the page of `opensora app` adds to it
	uv pip compile pyproject.toml --extra dev --extra app --override requirements/overrides.txt \
		--override requirements/app-overrides.txt --constraint requirements/lock.txt --universal \
		--python-version 3.11 --no-emit-index-url --no-annotate --no-header \
		| awk 'NR == FNR {locked[$$1]; next} !($$1 in locked)' requirements/lock.txt - > requirements/app.txt
	sed -i '/^  - pip:/q' environment.yml && sed 's/^/      - /' requirements/lock.txt >> environment.yml

clean:
	rm -rf results logs benchmarks .snakemake
