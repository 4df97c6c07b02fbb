#!/usr/bin/env bash
# Builds what unpacking is measured with: target/setup/images/large, an OCI image layout with the tag latest, of some
# 550 MB and 15,000 entries in three layers. Nothing of it is run.
. "$(dirname "$0")/../../configs/setup/steps.sh"

images=$SETUP/images
library=tests/images/layers.sh
. "$library"
# Of the kind that a server of models has: an interpreter, numerics, a compiler.
PACKAGES="git g++ python3-pandas python3-sympy"

[ -f "$images/large/index.json" ] && finished image-large "$library" && exit 0

# All that PACKAGES need on a machine that has nothing, which is what an empty list of installed packages says.
download_closure() {
    local directory=$1
    install -d -m 0755 "$directory/partial"
    : >"$SCRATCH/status"
    # shellcheck disable=SC2086
    apt-get -qq -y --no-install-recommends --download-only -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Dir::State::status="$SCRATCH/status" -o Dir::Cache::archives="$directory" install $PACKAGES >/dev/null ||
        fail "apt-get could not download $PACKAGES: run apt-get update, then make again"
}

configs/setup/packages.sh images
say "fetching packages of a large image (130 MB)"
scratch_directory
packages=$SCRATCH/packages
download_closure "$packages"
begin_image large
for layer in 'lib*' 'python*' '*'; do
    find "$packages" -maxdepth 1 -name "$layer.deb" | sort | while read -r package; do
        dpkg-deb -x "$package" "$BUNDLE/rootfs"
        rm "$package"
    done
    end_layer
done
end_image
finish image-large "$library"
