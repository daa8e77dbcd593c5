#!/bin/sh
# Makes sure that PostgreSQL's server programs are there, without touching any cluster of the system.
#
# Does nothing when they are. On Debian and Ubuntu it installs them with apt, and sees to it that the
# package neither creates a cluster nor starts a service. Anywhere else it says what to install.
set -eu

OLDEST=15

have() { command -v "$1" >/dev/null 2>&1; }

# The same search as the guard's: an override, the newest of Debian's directories, the PATH.
server_programs() {
    if [ -n "${CONTINUUM_PG_BIN:-}" ]; then
        if [ -x "$CONTINUUM_PG_BIN/postgres" ]; then echo "$CONTINUUM_PG_BIN"; fi
        return 0
    fi
    newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$newest" ] && [ -x "$newest/postgres" ]; then
        echo "$newest"
    elif have postgres; then
        dirname "$(command -v postgres)"
    fi
}

if [ -n "$(server_programs)" ]; then
    exit 0
fi

if [ -n "${CONTINUUM_PG_BIN:-}" ]; then
    echo "CONTINUUM_PG_BIN is $CONTINUUM_PG_BIN, but there is no program 'postgres' in it." >&2
    exit 1
fi

if ! have apt-get || [ ! -f /etc/debian_version ]; then
    cat >&2 <<EOF
PostgreSQL's server programs are missing, and this system is not Debian or Ubuntu.
Install PostgreSQL $OLDEST or newer, server programs included (initdb, postgres, pg_basebackup,
pg_rewind, pg_controldata, pg_waldump), for example
  Fedora, RHEL   dnf install postgresql-server postgresql-contrib
  Arch           pacman -S postgresql
  Alpine         apk add postgresql
  macOS          not supported: the lab needs Linux (/proc, 127.0.0.0/8)
No cluster has to be created and no service started. If the programs are not in PATH, set
CONTINUUM_PG_BIN to their directory.
EOF
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif have sudo; then
    as_root="sudo"
else
    echo "PostgreSQL's server programs are missing. As root, run: apt-get install postgresql" >&2
    echo "(or run this again as root, or with sudo installed)" >&2
    exit 1
fi

# Runs a command as root; quoting stays intact because nothing is evaluated twice.
root() {
    if [ -n "$as_root" ]; then sudo "$@"; else "$@"; fi
}

echo "PostgreSQL's server programs are missing: installing the Debian package 'postgresql' with apt."
echo "No cluster is created and no service is started; PostgreSQL clusters of this system stay as they are."

# Without this the package creates a cluster 'main' on port 5432.
conf=/etc/postgresql-common/createcluster.conf
if [ ! -e "$conf" ]; then
    root mkdir -p /etc/postgresql-common
    printf '%s\n' '# Written before postgresql was installed: no cluster was wanted.' \
        'create_main_cluster = false' | root tee "$conf" >/dev/null
elif ! grep -Eq '^[[:space:]]*create_main_cluster[[:space:]]*=[[:space:]]*false' "$conf"; then
    echo "note: $conf is there and is left as it is; apt may create the cluster it asks for" >&2
fi

# Without this apt may start services. A policy that is there already is somebody else's decision.
policy=/usr/sbin/policy-rc.d
wrote_policy=""
cleanup() {
    if [ -n "$wrote_policy" ]; then root rm -f "$policy"; fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
if [ ! -e "$policy" ]; then
    wrote_policy=yes
    printf '#!/bin/sh\nexit 101\n' | root tee "$policy" >/dev/null
    root chmod 755 "$policy"
fi

root apt-get update -q
root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o Dpkg::Options::=--force-confold postgresql

found=$(server_programs)
if [ -z "$found" ]; then
    echo "apt has installed 'postgresql', but no server programs are in /usr/lib/postgresql/*/bin." >&2
    exit 1
fi
echo "PostgreSQL's server programs are in $found."
