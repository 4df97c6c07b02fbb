#!/usr/bin/env bash
# Makes target/setup/venv with the packages that one requirements file pins by sha256.
# Usage: python.sh REQUIREMENTS
. "$(dirname "$0")/steps.sh"

requirements=${1:?usage: python.sh REQUIREMENTS}
step=python-${requirements//\//-}
[ -x "$PYTHON" ] && finished "$step" "$requirements" && exit 0

# Debian's own interpreter: python3-venv, installed by packages.sh, belongs to no other.
[ -x "$PYTHON" ] || /usr/bin/python3 -m venv "$SETUP/venv" ||
    fail "cannot make a Python environment: install python3-venv, then run make again"

say "installing $(grep -c == "$requirements") Python packages of $requirements"
# --no-deps: the file is the whole list, so nothing enters that was not read and pinned.
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --requirement "$requirements" ||
    fail "cannot install $requirements: pip says why above; mend that, then run make again"
finish "$step" "$requirements"
