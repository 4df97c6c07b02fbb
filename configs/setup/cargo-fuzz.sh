#!/usr/bin/env bash
# Builds cargo-fuzz into target/setup/bin: a small program that nobody publishes as a wheel.
. "$(dirname "$0")/steps.sh"

VERSION=0.13.2
[ -x "$SETUP/bin/cargo-fuzz" ] && finished cargo-fuzz && exit 0

say "building cargo-fuzz $VERSION (a minute)"
# A directory of its own: what it is built of has nothing to do with the product's builds.
scratch_directory
cargo install --quiet --locked --force --root "$SETUP" --target-dir "$SCRATCH" --version "=$VERSION" cargo-fuzz ||
    fail "cannot build cargo-fuzz: cargo says why above; mend that, then run make again"
finish cargo-fuzz
