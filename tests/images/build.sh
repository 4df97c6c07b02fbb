#!/usr/bin/env bash
# Builds the images that tests serve, out of this machine's Debian packages and without running anything in them:
# target/setup/images/NAME is an OCI image layout with the tag latest.
. "$(dirname "$0")/../../configs/setup/steps.sh"

images=$SETUP/images
library=tests/images/layers.sh
. "$library"

[ -f "$images/busybox-httpd/index.json" ] && [ -f "$images/python-http/index.json" ] &&
    finished images "$library" && exit 0

# A static shell and web server in one file, in one layer.
busybox_httpd() {
    local root
    begin_image busybox-httpd
    root=$BUNDLE/rootfs
    install -d "$root/bin" "$root/etc" "$root/www"
    install -d -m 1777 "$root/tmp"
    install -m 0755 "$(command -v busybox)" "$root/bin/busybox"
    busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$root/bin/$applet"; done
    accounts "$root/etc"
    echo 'busybox serves this' >"$root/www/index.html"
    end_layer
    configure --config.entrypoint /bin/sh --config.entrypoint -c \
        --config.entrypoint 'exec busybox httpd -f -v -p ${PORT:-8080} -h /www' \
        --config.env PATH=/bin --config.exposedports 8080/tcp
    end_image
}

# A dynamic interpreter in layers that hide something of those below: a whiteout each of a file and of a directory,
# and an opaque directory.
python_http() {
    local root python packages
    python=$(apt-cache depends --important python3-minimal | sed -n 's/^ *PreDepends: \(python3\.[0-9]*\)-minimal$/\1/p')
    [ -n "$python" ] || fail "apt knows no python3-minimal: run apt-get update, then make again"
    packages="libc6 libexpat1 zlib1g $python-minimal lib$python-minimal lib$python-stdlib"
    say "fetching packages of an image (10 MB)"
    # shellcheck disable=SC2086
    download_packages "$SCRATCH/packages" $packages

    begin_image python-http
    root=$BUNDLE/rootfs
    unpack_packages "$root" libc6 libexpat1 zlib1g
    end_layer
    unpack_packages "$root" "$python-minimal" "lib$python-minimal" "lib$python-stdlib"
    end_layer
    install -d "$root/etc" "$root/srv/http/assets" "$root/srv/drafts"
    install -d -m 1777 "$root/tmp"
    accounts "$root/etc"
    echo 'python serves this' >"$root/srv/http/index.html"
    echo 'a whiteout hides this' >"$root/srv/http/stale.html"
    echo 'an opaque directory hides this' >"$root/srv/http/assets/old.txt"
    echo 'the whiteout of its directory hides this' >"$root/srv/drafts/draft.txt"
    end_layer
    rm -r "$root/srv/http/stale.html" "$root/srv/drafts" "$root/usr/share/doc" "$root/usr/share/man"
    end_layer
    install -d "$SCRATCH/assets"
    echo 'an opaque directory shows this' >"$SCRATCH/assets/new.txt"
    umoci insert --opaque --image "$LAYOUT:latest" "$SCRATCH/assets" /srv/http/assets
    configure --config.entrypoint "/usr/bin/$python" --config.cmd -c --config.cmd "$SERVE" \
        --config.env PATH=/usr/bin --config.env PYTHONDONTWRITEBYTECODE=1 \
        --config.user web --config.workingdir /srv/http --config.exposedports 8080/tcp
    end_image
}

# The port is the platform's to say, and http.server takes it as an argument alone.
SERVE='import os, runpy, sys
sys.argv = ["http.server", os.environ.get("PORT", "8080")]
runpy.run_module("http.server", run_name="__main__")'

scratch_directory
busybox_httpd
python_http
finish images "$library"
