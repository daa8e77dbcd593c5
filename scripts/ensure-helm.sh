#!/bin/sh
# Makes sure that Helm is there, as the tests of the chart ask it: scripts/helm/requirements.txt, in target/helm.
#
# Helm is not in Debian; PyPI has its library with bindings, which renders, lints and checks values without a cluster.
# Does nothing when it is there. Python and pip are installed with apt where they are missing. Needs the network the
# first time (75 MB), and says so when there is none.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wanted="$here/helm/requirements.txt"
into="$here/../target/helm"

# Also where it is there already: what asks it is a program of Python's.
"$here/ensure-programs.sh" python3:python3

# Written last, so that an installation that was broken off is not taken for a whole one.
if cmp -s "$wanted" "$into/complete"; then
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    "$here/ensure-programs.sh" pip3:python3-pip
fi

echo "installing Helm's library from PyPI, into target/helm"
rm -rf "$into"
mkdir -p "$into"
if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --target "$into" --requirement "$wanted"; then
    echo "pip could not install it. It is needed for the tests of the Helm chart: run 'make helm' where the" >&2
    echo "network reaches PyPI." >&2
    exit 1
fi
# The same library three times, for three ways of asking for it.
rm -f "$into/helm_python/lib/libhelm_c.so" "$into/helm_python/lib/libhelm_c.so.0"
cp "$wanted" "$into/complete"
