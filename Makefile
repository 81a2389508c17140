# Every target makes and uses .venv at the root. `make demo` and `make test` need nothing but Python and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEC ?= specs/skyreels_v2.yaml

# torch before what depends on it, and torchvision without its dependencies: it pins a CUDA build of torch,
# FastVideo imports it, and no operator of it is used.
TORCH := torch==2.13.0
TORCHVISION := torchvision==0.28.0

.PHONY: demo test check fix golden schemas bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready ## set everything up, build a port into the real FastVideo tree and run its gates
	$(BIN)/portspec build $(SPEC)

test: $(VENV)/.ready ## set everything up and run the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

check: $(VENV)/.ready ## lint, types, and drift of everything that is generated; writes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --no-print-directory types
	$(BIN)/portspec schema --check
	$(BIN)/portspec fmt --check specs/*.yaml examples/*/port.yaml

# mypy cannot follow `package-dir`, so it is shown the package as it is installed: codegen/ inside portspec/.
.PHONY: types
types: $(VENV)/.ready
	rm -rf build/types && mkdir -p build/types/portspec
	ln -s $(CURDIR)/portspec/* build/types/portspec/
	ln -s $(CURDIR)/codegen build/types/portspec/codegen
	MYPYPATH=build/types $(BIN)/mypy -p portspec

fix: $(VENV)/.ready ## format, and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/portspec fmt specs/*.yaml examples/*/port.yaml

golden: $(VENV)/.ready ## write the outputs that tests compare with; read the diff before committing it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/test_codes.py tests/test_golden.py tests/test_audit.py

schemas: $(VENV)/.ready ## write schemas/ and docs/language.md
	$(BIN)/portspec schema --write

bench: $(VENV)/.ready ## measure ratios beside a peer in the same run; BENCH_JSON=path writes them down
	$(BIN)/python -m tests.bench

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "portspec needs Python 3.10 or newer: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch, the official libraries and what FastVideo imports; this takes a few minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TORCHVISION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[gates,dev]'
	touch $@

clean: ## remove what was built here; the cache in ~/.cache/portspec stays
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
