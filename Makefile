# `make run` and `make test` do everything on a fresh Debian or Ubuntu machine with Rust and Python 3.10+.
# Both first install what is missing and say what they install (.ci/setup). Two tests are built in a way of their own:
# the sweep as users get it (with the packages that `build` has, so that nearly all is built once), and the steps of the
# hand-off for loom, which tries every interleaving of them.

.PHONY: run test lint bench check-bench soak setup setup-bench setup-tests build clean

run: setup build
	@target/release/nda run examples/demo.toml

build:
	@echo "building; the first time takes some minutes"
	@cargo build --release --locked -p host -p worker -p benches --lib --bin nda --bin nda-bench

# With the worker, which has no tests: what is built for it is built for all, so that nearly all is built once.
test: setup-tests
	@echo "building; the first time takes some minutes"
	@cargo build --locked -p host -p worker -p benches --lib --bin nda --bin nda-bench
	@.ci/tests --workspace
	cargo test --locked --release -p worker -p benches -p tests --test sweep
	CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS="--cfg loom" cargo test --locked --release -p shared --lib --target-dir target/loom model::
	.venv/bin/python -m pytest -q plugins_py/tests

# The host is also checked without ALSA, since all that is tested is built with the default audio systems; with PipeWire
# only where its library is installed, as its bindings are made by a C compiler's front end and take longer than the rest.
lint: setup-tests
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo check --locked -p host --no-default-features --features jack
	@if pkg-config --exists libpipewire-0.3; then cargo check --locked -p host --features pipewire; fi
	.venv/bin/ruff check plugins_py
	.venv/bin/ruff check --line-length 110 examples benches host
	.venv/bin/ruff format --check plugins_py
	.venv/bin/ruff format --line-length 110 --check examples benches host

# Ratios against those of a run that is kept, with a tolerance for busy machines.
check-bench: setup build
	target/release/nda bench --quick --check benches/baseline.json

bench: setup-bench build
	cargo bench --locked -p benches
	target/release/nda bench

# Two pipelines for so long, while their plugins are killed every few seconds.
MINUTES ?= 30
soak: setup build
	@cargo build --release --locked -p host -p worker -p benches --bin nda-soak
	target/release/nda-soak --minutes $(MINUTES) --json soak.json

setup:
	@.ci/setup

setup-bench:
	@.ci/setup bench

setup-tests:
	@.ci/setup tests

clean:
	cargo clean
	rm -rf .venv out.wav rx.wav soak.json
