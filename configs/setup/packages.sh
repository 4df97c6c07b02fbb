#!/usr/bin/env bash
# Installs the Debian packages that are missing, and checks the Rust toolchain.
# Usage: packages.sh run|test|bench|images
. "$(dirname "$0")/steps.sh"

RUN_PACKAGES="ca-certificates gcc libc6-dev libseccomp-dev make pkg-config python3 python3-venv"
# binutils strips the guest's binaries; libFuzzer is C++; qemu's recommended packages are its graphics; strace records
# the worker's system calls; skopeo, umoci and zstd are what images are made, copied and compared with; passt and slirp4netns
# join replicas to other networks, which iproute2 makes; e2fsprogs makes volumes on disk.
TEST_PACKAGES="binutils busybox-static cpio e2fsprogs g++ iproute2 passt qemu-system-x86 skopeo slirp4netns strace umoci zstd"

case ${1:-} in
run) packages=$RUN_PACKAGES ;;
test) packages="$RUN_PACKAGES $TEST_PACKAGES" ;;
# Triton's Python backend embeds the distribution's interpreter.
bench) packages="runc containerd nginx-light libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ;;
images) packages="busybox-static umoci" ;;
*) fail "usage: packages.sh run|test|bench|images" ;;
esac

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
rust=$(rustc --version 2>/dev/null | cut -d' ' -f2) ||
    fail "Rust is missing: install Rust $minimum or newer (https://rustup.rs), then run make again"
[ "$(printf '%s\n' "$minimum" "$rust" | sort -V | head -n1)" = "$minimum" ] ||
    fail "Rust $rust is too old: run 'rustup update' to have $minimum or newer"

# Prints the packages that are not installed, one a line.
missing_packages() {
    local installed
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null |
        sed -n 's/ installed$//p' || true)
    # shellcheck disable=SC2086
    printf '%s\n' $packages | grep -vxF "$installed" || true
}

missing=$(missing_packages | tr '\n' ' ')
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || fail "packages are missing; as root: apt-get install --no-install-recommends $missing"

say "installing packages: $missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || fail "apt-get update failed: check the network and /etc/apt, then run make again"
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $missing >/dev/null ||
    fail "apt-get could not install them: run 'apt-get install --no-install-recommends $missing' to see why"
