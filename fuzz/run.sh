#!/usr/bin/env bash
# Builds the fuzz targets and runs each for so many seconds, beginning with its committed corpus.
# What it finds new is kept under target/fuzz, never among the committed inputs.
#
# Usage: run.sh SECONDS [TARGET]...   (default: every target)
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_FUZZ=$PWD/target/setup/bin/cargo-fuzz
BUILD=$PWD/target/fuzz
# One input may take this long and the process grow to this size; parsers of a few kB need neither.
INPUT_SECONDS_MAX=5
RSS_MIB_MAX=512

say() { printf 'fuzz: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Without a sanitizer the stable toolchain will do: this is safe Rust, in which a wrong access panics.
fuzz() { "$CARGO_FUZZ" "$@"; }

run_target() {
    local target=$1 seconds=$2 found=$BUILD/corpus/$1 crashes=$BUILD/artifacts/$1/
    mkdir -p "$found" "$crashes"
    say "$target for $seconds s"
    local log=$BUILD/$target.log
    "$BUILD/$(rustc --print host-tuple)/release/$target" "$found" "fuzz/corpus/$target" \
        -max_total_time="$seconds" -timeout="$INPUT_SECONDS_MAX" -rss_limit_mb="$RSS_MIB_MAX" \
        -artifact_prefix="$crashes" -print_final_stats=1 >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        fail "$target failed; the input is in $crashes, all that was printed in $log"
    }
    sed -n 's/^stat::number_of_executed_units: */  inputs run: /p' "$log" >&2
}

[ $# -ge 1 ] || fail "usage: run.sh SECONDS [TARGET]..."
seconds=$1
shift
[ -x "$CARGO_FUZZ" ] || fail "no cargo-fuzz: run 'make setup-test'"

fuzz build --fuzz-dir fuzz --sanitizer none --codegen-units 16 --target-dir "$BUILD"
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(fuzz list --fuzz-dir fuzz)

# One a processor, since none uses more. The first that fails ends the others, each with what it runs.
set -m
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done' EXIT
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    run_target "$target" "$seconds" &
done
while [ -n "$(jobs -p)" ]; do wait -n; done
