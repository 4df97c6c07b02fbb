#!/usr/bin/env bash
# Unpacks Debian's cloud kernel for the cgroup v2 guest. It is never installed: this machine boots
# its own.
. "$(dirname "$0")/steps.sh"

METAPACKAGE=linux-image-cloud-amd64
kernel=$SETUP/guest-kernel
[ -f "$kernel/vmlinuz" ] && finished guest-kernel && exit 0

say "fetching a guest kernel (27 MB)"
kernel_package() {
    apt-cache depends --important "$METAPACKAGE" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p'
}
package=$(kernel_package)
if [ -z "$package" ]; then
    apt-get -qq update || fail "apt-get update failed: check the network and /etc/apt, then run make again"
    package=$(kernel_package)
fi
[ -n "$package" ] || fail "apt knows no $METAPACKAGE: the cgroup v2 guest needs Debian's archive in /etc/apt/sources.list"

scratch_directory
download_packages "$SCRATCH/download" "$package"
dpkg-deb -x "$SCRATCH"/download/*.deb "$SCRATCH/kernel"
rm -rf "$kernel"
mkdir -p "$kernel"
install -m 0644 "$SCRATCH"/kernel/boot/vmlinuz-* "$kernel/vmlinuz"
install -m 0644 "$SCRATCH"/kernel/boot/config-* "$kernel/config"
install -m 0644 "$SCRATCH"/kernel/lib/modules/*/kernel/fs/overlayfs/overlay.ko "$kernel/overlay.ko"
finish guest-kernel
