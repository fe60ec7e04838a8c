# The commands that people type. What a target does beyond one line stands in scripts/.

SHELL := /bin/bash
CARGO_BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PATH := $(CARGO_BIN):$(PATH)

BINARY := $(or $(CARGO_TARGET_DIR),target)/release/portcullis

FUZZ_TARGETS := parser vm_line config rpc connection
FUZZ_SECONDS ?= 60

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system

PCAPS := tests/pcaps

.DEFAULT_GOAL := help
.PHONY: help setup demo build test check soak advisories oldest-rust oldest-rust-toolchain fuzz bench packages deb install

OLDEST_RUST := $(shell sed -n 's/^rust-version = "\(.*\)"$$/\1/p' Cargo.toml)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing need (Debian; asks for sudo unless root)
	scripts/setup

demo: ## replay a capture through the box and see what is dropped and why (no root, no NIC)
	@scripts/quietly "looking for what the build needs, and installing it (some minutes at most)" scripts/setup demo
	@scripts/quietly "building (one to three minutes the first time)" cargo build --release --locked
	@$(BINARY) replay --vms $(PCAPS)/demo-vms.jsonl \
	    --inside $(PCAPS)/demo-inside.pcap --outside $(PCAPS)/demo-outside.pcap

build: ## build the release binary, target/release/portcullis
	cargo build --release --locked

test: ## run every test that this machine allows
	scripts/test

soak: ## the long forms of tests: 500 kills of the daemon, 20,000 cases of each property (ten minutes)
	scripts/setup
	PORTCULLIS_HISTORIES_KILLS=500 cargo nextest run --locked --test histories --no-capture
	PROPTEST_CASES=20000 cargo nextest run --locked --no-default-features --test properties

check: ## formatting, lints, documentation, licences, captures: what must be clean before a commit
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
# The program alone, whose modules are private: so the compiler says what only tests use.
	cargo clippy --locked --workspace -- -D warnings
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features
	cargo deny check licenses bans sources
# What is fuzzed is built with what is tested.
	cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	/usr/bin/python3 tests/peers/captures.py --check $(PCAPS)

advisories: ## known weaknesses of the dependencies (needs a network that reaches the RustSec database)
	cargo deny check advisories

oldest-rust-toolchain:
	rustup toolchain install --profile minimal $(OLDEST_RUST)

oldest-rust: oldest-rust-toolchain ## does it compile with the oldest Rust that Cargo.toml accepts? (rustup, network)
	CARGO_TARGET_DIR=target/oldest-rust cargo +$(OLDEST_RUST) check --locked --workspace --all-targets

fuzz: ## fuzz each target for FUZZ_SECONDS (60)
	set -e; for target in $(FUZZ_TARGETS); do \
	    echo "== fuzz $$target for $(FUZZ_SECONDS) s"; \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done

bench: build ## measure throughput against testpmd (BENCH_ARGS are passed on)
	/usr/bin/python3 bench/run.py $(BENCH_ARGS)
	/usr/bin/python3 bench/control.py $(BENCH_CONTROL_ARGS)

packages: ## does what docs/operate.md tells to install start the box, and does our own package? (root, mmdebstrap, network)
	scripts/test-packages

deb: ## make a package for this Debian release, in target/debian (takes cargo-deb)
	scripts/deb

install: ## install what `make build` built: binary, systemd unit, log rotation, default configuration, alert rules, dashboard
	@test -x $(BINARY) || { echo "run 'make build' first (as an ordinary user)" >&2; exit 1; }
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/portcullis
	install -d -m 0755 $(DESTDIR)$(UNITDIR)
	sed 's|/usr/bin/portcullis|$(PREFIX)/bin/portcullis|' packaging/portcullis.service \
	    > $(DESTDIR)$(UNITDIR)/portcullis.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/portcullis.service
	install -m 0644 packaging/portcullis.socket $(DESTDIR)$(UNITDIR)/portcullis.socket
	install -D -m 0644 packaging/portcullis.logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/portcullis
	install -D -m 0644 packaging/prometheus/portcullis.rules.yml $(DESTDIR)$(PREFIX)/share/portcullis/portcullis.rules.yml
	install -D -m 0644 packaging/grafana/portcullis.json $(DESTDIR)$(PREFIX)/share/portcullis/grafana.json
	test -e $(DESTDIR)$(SYSCONFDIR)/portcullis/portcullis.toml || \
	    install -D -m 0644 packaging/portcullis.toml $(DESTDIR)$(SYSCONFDIR)/portcullis/portcullis.toml
