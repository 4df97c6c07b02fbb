#!/usr/bin/env bash
# Unpacks Debian's cloud kernel for the cgroup v2 guest, and those of its modules that the guest loads.
# It is never installed: this machine boots its own.
. "$(dirname "$0")/steps.sh"

METAPACKAGE=linux-image-cloud-amd64
# Images have their layers by overlay and volumes on disk by loop; a helper has its network by tun, and what it
# reaches in tests is joined by veth. ext4 is built in, and so is all that devices, packets and control groups need.
MODULES="loop overlay tun veth"
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

# install_modules FROM TO: the named modules and all that they need, with an index of them for modprobe.
install_modules() {
    local from=$1 to=$2 version module file
    version=$(basename "$from"/lib/modules/*)
    # The package has none: it is made where a kernel is installed.
    busybox depmod -b "$from" "$version"
    for module in $MODULES; do
        [ -n "$(needed "$module" "$from/lib/modules/$version")" ] || fail "$package has no module $module"
        for file in $(needed "$module" "$from/lib/modules/$version"); do
            install -D -m 0644 "$from/lib/modules/$version/$file" "$to/lib/modules/$version/$file"
        done
    done
    busybox depmod -b "$to" "$version"
}
# The index has a line for each file: `FILE: WHAT IT NEEDS`.
needed() { sed -n "s|^\(.*/$1\.ko\):|\1|p" "$2/modules.dep"; }

scratch_directory
download_packages "$SCRATCH/download" "$package"
dpkg-deb -x "$SCRATCH"/download/*.deb "$SCRATCH/kernel"
rm -rf "$kernel"
mkdir -p "$kernel"
install -m 0644 "$SCRATCH"/kernel/boot/vmlinuz-* "$kernel/vmlinuz"
install -m 0644 "$SCRATCH"/kernel/boot/config-* "$kernel/config"
install_modules "$SCRATCH/kernel" "$kernel"
finish guest-kernel
