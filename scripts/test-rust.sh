#!/bin/sh
# Runs the tests: with cargo-nextest where it is installed, with cargo's own runner elsewhere.
#
#   test-rust.sh short   unit, property, contract and the short end-to-end tests
#   test-rust.sh long    the long end-to-end tests, and the long histories of the witness
#   test-rust.sh cut     those in a network of their own, whose lines are cut
#   test-rust.sh kube    those on a real Kubernetes API server: the witness's backend, how the agent
#                        reaches it, and the suite that the API server of the tests is held to
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
        exec cargo nextest run --workspace --lib --test backends --test kube --test traffic --run-ignored only \
            -E 'test(/^kubernetes::/) and not test(footprint)'
    fi
    exec cargo test --workspace --lib --test backends --test kube --test traffic kubernetes:: -- --ignored \
        --test-threads=1 --skip footprint
fi

# Always the whole workspace, and then a filter: packages asked for by name would have their
# dependencies built once more, with other features.
if cargo nextest --version >/dev/null 2>&1; then
    case "$part" in
    short)
        # Apart from the rest: this feature takes single rules out of the machines, to show that
        # the properties notice, and must not be in the binary that the labs start.
        cargo nextest run -p continuum-domain --features planted-bugs
        exec cargo nextest run --workspace --exclude continuum-domain
        ;;
    long)
        exec cargo nextest run --workspace --exclude continuum-domain --profile long --run-ignored only \
            -E 'not (binary(cut_lines) or test(/^kubernetes::/) or test(/^convergence::/) or test(child_witness))'
        ;;
    cut)
        exec cargo nextest run --workspace --exclude continuum-domain --profile long --run-ignored only \
            -E 'binary(cut_lines)'
        ;;
    esac
fi

case "$part" in
short)
    cargo test -p continuum-domain --features planted-bugs
    cargo test --workspace --exclude continuum-tests --exclude continuum-domain
    exec cargo test --workspace --test end_to_end -- --test-threads=1
    ;;
long)
    exec cargo test --workspace --exclude continuum-domain --test backends --test core --test kube --test witness \
        --test end_to_end -- --ignored --test-threads=1 --skip kubernetes:: --skip child_witness
    ;;
cut)
    exec cargo test --workspace --test cut_lines -- --ignored --test-threads=1
    ;;
esac
