#!/bin/sh
# Runs the tests: with cargo-nextest where it is installed, with cargo's own runner elsewhere.
#
#   test-rust.sh short   unit, property, contract and the short end-to-end tests
#   test-rust.sh long    the long end-to-end tests, and the long histories of the witness
#   test-rust.sh cut     those in a network of their own, whose lines are cut
#   test-rust.sh kube    those of the witness's backend on a Kubernetes API server
#
# End-to-end tests run one at a time: each starts a whole lab, and timing is what they look at.
set -eu

case "${1:-}" in
short | long | cut | kube) part=$1 ;;
*)
    echo "usage: $0 short|long|cut|kube" >&2
    exit 2
    ;;
esac

# These need no lab and no binary of ours.
if [ "$part" = kube ]; then
    if cargo nextest --version >/dev/null 2>&1; then
        exec cargo nextest run -p continuum-witness-backends --test kubernetes --run-ignored only
    fi
    exec cargo test -p continuum-witness-backends --test kubernetes -- --ignored --test-threads=1
fi

# The labs start this binary; cargo builds it for its own package's tests only.
cargo build --quiet -p continuum

if cargo nextest --version >/dev/null 2>&1; then
    if [ "$part" = short ]; then
        # Apart from the rest: this feature takes single rules out of the machines, to show that
        # the properties notice, and must not be in the binary that the labs start.
        cargo nextest run -p continuum-domain --features planted-bugs
        exec cargo nextest run --workspace --exclude continuum-domain
    fi
    if [ "$part" = cut ]; then
        exec cargo nextest run --profile long -p continuum-chaos --run-ignored only
    fi
    cargo nextest run --profile long -p continuum-witness-backends --test quorum --test object_store --run-ignored only
    cargo nextest run --profile long -p continuum-control --test core_cells --run-ignored only
    exec cargo nextest run --profile long -p continuum-tests --run-ignored only
fi

if [ "$part" = short ]; then
    cargo test -p continuum-domain --features planted-bugs
    cargo test --workspace --exclude continuum-tests --exclude continuum-domain
    exec cargo test -p continuum-tests -- --test-threads=1
fi
if [ "$part" = cut ]; then
    exec cargo test -p continuum-chaos -- --ignored --test-threads=1
fi
cargo test -p continuum-witness-backends --test quorum --test object_store -- --ignored --test-threads=1
cargo test -p continuum-control --test core_cells -- --ignored --test-threads=1
exec cargo test -p continuum-tests -- --ignored --test-threads=1
