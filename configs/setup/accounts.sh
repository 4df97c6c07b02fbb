#!/usr/bin/env bash
# Makes the user the unprivileged half runs as, and the group whose members may use the admin socket.
. "$(dirname "$0")/steps.sh"

if getent passwd dormouse >/dev/null && getent group dormouse-admin >/dev/null; then
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "user dormouse or group dormouse-admin is missing: run make as root once"

getent passwd dormouse >/dev/null ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin dormouse
getent group dormouse-admin >/dev/null || groupadd --system dormouse-admin
say "made user dormouse and group dormouse-admin"
