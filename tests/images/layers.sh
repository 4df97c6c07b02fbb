# Sourced by the scripts here: an image is a bundle that umoci unpacks, and each change of it becomes a layer.

# begin_image NAME: LAYOUT is the image layout, with the empty image `latest`, and BUNDLE/rootfs what is in it.
begin_image() {
    name_image "$1"
    umoci init --layout "$LAYOUT"
    umoci new --image "$LAYOUT:latest"
    umoci unpack --image "$LAYOUT:latest" "$BUNDLE"
}

# continue_image NAME BASE: the same with the layers of BASE, an image that was built.
continue_image() {
    name_image "$1"
    cp -r "$SETUP/images/$2" "$LAYOUT"
    umoci unpack --image "$LAYOUT:latest" "$BUNDLE"
}

name_image() {
    say "building the image $1"
    IMAGE=$1
    LAYOUT=$SCRATCH/layouts/$1
    BUNDLE=$SCRATCH/bundles/$1
    mkdir -p "$SCRATCH/layouts" "$SCRATCH/bundles"
}

# Makes a layer of what changed below BUNDLE/rootfs since the last one.
end_layer() { umoci repack --refresh-bundle --image "$LAYOUT:latest" "$BUNDLE"; }

# configure OPTION...: what `umoci config` is told.
configure() { umoci config --image "$LAYOUT:latest" "$@"; }

# Moves the layout to where tests find it, whole or not at all.
end_image() {
    umoci gc --layout "$LAYOUT"
    mkdir -p "$SETUP/images"
    rm -rf "${SETUP:?}/images/$IMAGE" "$SETUP/images/.$IMAGE"
    mv "$LAYOUT" "$SETUP/images/.$IMAGE"
    mv "$SETUP/images/.$IMAGE" "$SETUP/images/$IMAGE"
}

# unpack_packages ROOT PACKAGE...: out of $SCRATCH/packages.
unpack_packages() {
    local root=$1 package
    shift
    for package in "$@"; do
        dpkg-deb -x "$SCRATCH/packages/${package}_"*.deb "$root"
    done
}

# accounts DIRECTORY: root, and a user of whom nothing is special.
accounts() {
    printf 'root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/srv:/bin/false\n' >"$1/passwd"
    printf 'root:x:0:\nweb:x:1000:\n' >"$1/group"
}
