#!/usr/bin/env bash
# Installs what `make bench` measures beside Dormouse: runc, containerd and nginx from the distribution, Triton out
# of NVIDIA's pytriton wheel. Each that cannot be had is named, and the others are installed all the same: a bench
# without one of them says so in its rows.
. "$(dirname "$0")/steps.sh"

server=configs/setup/wheels/triton.txt
packages=configs/setup/wheels/triton-packages.txt
peers=$SETUP/peers
binaries=$peers/triton/pytriton/tritonserver

distribution() { configs/setup/packages.sh bench; }

# The server is an executable in the wheel, beside libraries that it finds by itself. Its Python backend starts a
# stub built for one version of Python, which it looks for in the backend's directory.
triton() {
    local python stub
    [ "$(uname -m)" = x86_64 ] || fail "pytriton has wheels for x86-64 only: Triton cannot be measured on $(uname -m)"
    python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ -x "$binaries/bin/tritonserver" ] && [ -d "$peers/python/onnxruntime" ] &&
        finished bench-peers "$server" "$packages" && return 0
    say "fetching Triton (55 MB) and what its model needs of Python (45 MB)"
    scratch_directory
    fetch "$server" "$SCRATCH" --only-binary=:all: --platform manylinux_2_35_x86_64
    "$PYTHON" -m zipfile -e "$SCRATCH"/nvidia_pytriton-*.whl "$SCRATCH/triton"
    stub=$SCRATCH/triton/pytriton/tritonserver/python_backend_stubs/$python/triton_python_backend_stub
    [ -f "$stub" ] || fail "Triton has no stub for Python $python: it can be measured with 3.8 to 3.13"
    install -m 0755 "$stub" "$SCRATCH/triton/pytriton/tritonserver/backends/python/"
    chmod 0755 "$SCRATCH/triton/pytriton/tritonserver/bin/tritonserver"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
        --target "$SCRATCH/python" --requirement "$packages" ||
        fail "cannot install $packages: pip says why above; mend that, then run make bench-peers again"
    rm -rf "$peers"
    mkdir -p "$peers"
    mv "$SCRATCH/triton" "$SCRATCH/python" "$peers"
    finish bench-peers "$server" "$packages"
}

# Each in a process of its own: in a condition of this one, the shell would go on after a failure.
case ${1:-} in
distribution) distribution ;;
triton) triton ;;
"")
    missing=()
    "$0" distribution || missing+=("runc, containerd and nginx")
    "$0" triton || missing+=(Triton)
    [ ${#missing[@]} = 0 ] || fail "not installed: $(printf '%s; ' "${missing[@]}")their rows of the bench will say so"
    ;;
*) fail "usage: bench-peers.sh [distribution|triton]" ;;
esac
