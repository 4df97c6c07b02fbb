#!/usr/bin/env bash
# Unpacks Debian's docker-registry for the tests. It is never installed: the package enables and starts a service
# that listens on every address.
. "$(dirname "$0")/steps.sh"

registry=$SETUP/registry
[ -x "$registry/docker-registry" ] && finished registry && exit 0

say "fetching an image registry (5 MB)"
scratch_directory
download_packages "$SCRATCH/download" docker-registry
dpkg-deb -x "$SCRATCH"/download/*.deb "$SCRATCH/unpacked"
mkdir -p "$registry"
install -m 0755 "$SCRATCH/unpacked/usr/bin/docker-registry" "$registry"
finish registry
