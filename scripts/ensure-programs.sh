#!/bin/sh
# Makes sure that programs of Debian packages are there: ensure-programs.sh PROGRAM:PACKAGE...
# A file of a package without a program is named by its whole path.
#
# Does nothing when they are. On Debian and Ubuntu it installs what is missing with apt; anywhere else it
# says what to install.
set -eu

missing=""
for pair in "$@"; do
    case "$pair" in
    /*) [ -e "${pair%%:*}" ] || missing="$missing ${pair##*:}" ;;
    *)
        if ! PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1; then
            missing="$missing ${pair##*:}"
        fi
        ;;
    esac
done
if [ -z "$missing" ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1 || [ ! -f /etc/debian_version ]; then
    echo "Programs are missing. Install what your system calls:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "Programs are missing. As root, run: apt-get install$missing" >&2
    exit 1
fi

# Without this apt may start services. A policy that is there already is somebody else's decision.
policy=/usr/sbin/policy-rc.d
wrote_policy=""
cleanup() {
    if [ -n "$wrote_policy" ]; then $as_root rm -f "$policy"; fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
if [ ! -e "$policy" ]; then
    wrote_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

echo "installing with apt:$missing"
# A list of package names on purpose, one word each.
# shellcheck disable=SC2086
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
