#!/usr/bin/env bash
# Runs tests as root in a guest whose cgroups are pure v2, whatever this machine has: Debian's cloud
# kernel under QEMU's software emulation, everything it needs in an initramfs.
#
# Usage: run.sh [PACKAGE[:TEST[:FILTER]]]...
# A TEST is one of the package's test binaries, all of them where none is named; a FILTER selects the
# tests in it whose names contain it.
set -euo pipefail
cd "$(dirname "$0")/../.."

GUEST_CPUS=2
GUEST_MEMORY_MIB=2048
GUEST_LIMIT_S=1800
# What concerns control groups: the sandbox's own tests, the attacks on it, and a model and an image end to end.
DEFAULT=(
    dormouse-sandbox
    dormouse-attacks:sandbox
    dormouse-attacks:servers
    dormouse-tests:e2e:either_version::
)
# Programs that those tests start.
PROGRAMS="sandbox-defended sandbox-weakened servers-weakened dormouse-real"
# And those of this system that they, and what they test, start; pasta executes the other one where the processor has
# these instructions, as the emulated one does.
SYSTEM_PROGRAMS="ip mkfs.ext4 pasta pasta.avx2 slirp4netns"
# Where some of them are, and who is not root does not look.
export PATH=$PATH:/usr/sbin:/sbin
MARKER="guest: exit status"

KERNEL=target/setup/guest-kernel
ONNXRUNTIME=$PWD/target/setup/onnxruntime/libonnxruntime.so
ROOT=$PWD/target/guest/root
LOG=$PWD/target/guest/console.log

say() { printf 'guest: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Prints "test PATH [FILTER]" for each test binary that was asked for, and "program PATH" for every
# program they start. All of the workspace is built, as `make test` does: a part would be built with
# other features.
build_tests() {
    cargo test --locked --workspace --no-run --message-format=json-render-diagnostics |
        PROGRAMS=$PROGRAMS /usr/bin/python3 -c '
import json, os, sys
asked = [(word.split(":", 2) + ["", ""])[:3] for word in sys.argv[1:]]
for line in sys.stdin:
    built = json.loads(line)
    if not built.get("executable"):
        continue
    name = built["target"]["name"]
    if not built["profile"]["test"]:
        if name in os.environ["PROGRAMS"].split():
            print("program", built["executable"])
        continue
    for package, test, filter in asked:
        if f"#{package}@" in built["package_id"] and test in ("", name):
            print("test", built["executable"], filter)' "$@"
}

# Everything keeps the path it has here: tests know their programs and fixtures by absolute path,
# and a replica is given this system's loader and libraries.
lay_out_root() {
    rm -rf "$ROOT"
    mkdir -p "$ROOT"/{dev,etc,proc,run,sys,tmp,root,usr/{bin,sbin,lib,lib64}}
    local directory file system
    system=$(system_programs)
    for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$ROOT/$directory"; done
    cp "$(command -v busybox)" "$ROOT/usr/bin/busybox"
    cp tests/guest/init "$ROOT/init"
    # Where its modprobe looks.
    cp --recursive "$KERNEL/lib/modules" "$ROOT/usr/lib/modules"

    for file in "$@"; do
        copy_in_linked "$file"
        strip --strip-debug "$ROOT$file"
    done
    for file in "$ONNXRUNTIME" $system; do copy_in_linked "$file"; done
    # Images of set-up, which are no files of the checkout.
    for directory in busybox-httpd python-http; do copy_in_tree "$PWD/target/setup/images/$directory"; done
    # Configuration and fixtures, committed or about to be, and the folders of the packages: tests
    # name files relative to their own.
    git ls-files -z --cached --others --exclude-standard -- configs '*/fixtures/*' '*Cargo.toml' |
        while IFS= read -r -d '' file; do copy_in "$PWD/$file"; done
}
system_programs() {
    local program
    for program in $SYSTEM_PROGRAMS; do
        command -v "$program" || fail "there is no $program: run make setup-test"
    done
}
copy_in() { cp --dereference --parents "$1" "$ROOT"; }
copy_in_linked() {
    copy_in "$1"
    shared_libraries "$1" | while read -r library; do copy_in "$library"; done
}
copy_in_tree() { cp --dereference --parents --recursive "$1" "$ROOT"; }
shared_libraries() { ldd "$1" | sed -n 's/^\t\(.* => \)\?\(\/[^ ]*\) (.*/\2/p'; }

boot() {
    (cd "$ROOT" && find . -print0 | cpio --null --quiet --create --format=newc) >"$ROOT/../initramfs"
    say "booting ($(du -sm "$ROOT/../initramfs" | cut -f1) MiB initramfs)"
    # No disk, no network, no graphics; software emulation even where /dev/kvm exists. Without what is slow to emulate and
    # no test is about: a fifth level of page tables, clearing of memory that is cleared again, detours around faults that an
    # emulated processor has not.
    timeout --foreground "$GUEST_LIMIT_S" qemu-system-x86_64 \
        -nodefaults -no-user-config -no-reboot -display none -serial stdio \
        -accel tcg,thread=multi -cpu max,-la57 -smp "$GUEST_CPUS" -m "$GUEST_MEMORY_MIB" \
        -kernel "$KERNEL/vmlinuz" -initrd "$ROOT/../initramfs" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0" </dev/null | sed --unbuffered 's/\r//g' | tee "$LOG" |
        grep --line-buffered -v --text "^$MARKER"
}

if [ "$(uname -m)" != x86_64 ]; then
    say "skipped: the guest is for x86_64 machines"
    exit 0
fi

[ $# -gt 0 ] || set -- "${DEFAULT[@]}"
built=$(build_tests "$@")
mapfile -t tests < <(sed -n 's/^test //p' <<<"$built")
mapfile -t programs < <(sed -n 's/^program //p' <<<"$built")
[ ${#tests[@]} -ge $# ] || fail "fewer test binaries than were asked for: $*"
mkdir -p target/guest
lay_out_root "${tests[@]%% *}" "${programs[@]}"
printf '%s\n' "${tests[@]}" >"$ROOT/tests"

boot || true # the marker is the verdict: a guest that died or ran out of time printed none
status=$(sed -n "s/^$MARKER //p" "$LOG" | tail -n1)
[ -n "$status" ] || fail "no verdict: the guest crashed, or ran over $GUEST_LIMIT_S s (console: $LOG)"
[ "$status" = 0 ] || fail "tests failed with status $status"
say "${#tests[@]} test binaries passed on kernel $(sed -n 's/^guest: kernel //p' "$LOG") with cgroup v2 only"
