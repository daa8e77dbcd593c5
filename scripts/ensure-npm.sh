#!/bin/sh
# Makes sure that the services from npm which tests run against are there: scripts/npm/package.json,
# at the versions of its lock file, in target/npm.
#
# Does nothing when they are. Node itself is installed with apt where it is missing; no script of any
# package is run. Needs the network the first time, and says so when there is none.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
parts="$here/npm"
into="$here/../target/npm"

# Written last, so that an installation that was broken off is not taken for a whole one.
if cmp -s "$parts/package-lock.json" "$into/complete"; then
    exit 0
fi

# The services are JavaScript, so Node is needed for running them too.
"$here/ensure-programs.sh" node:nodejs npm:npm

oldest=18
version=$(node --version)
major=${version#v}
if [ "${major%%.*}" -lt "$oldest" ]; then
    echo "Node $oldest or newer is needed; this is $version." >&2
    exit 1
fi

echo "installing the services that tests run against from npm, into target/npm (about 330 MB)"
mkdir -p "$into"
rm -f "$into/complete"
cp "$parts/package.json" "$parts/package-lock.json" "$into/"
if ! (cd "$into" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); then
    echo "npm could not install them. They are needed for the contract tests of the witness's" >&2
    echo "backends: run 'make npm-parts' where the network reaches npm's registry." >&2
    exit 1
fi
cp "$parts/package-lock.json" "$into/complete"
