#!/bin/sh
# Runs the lab in release several times and keeps its figures: ttl 10 s and ttl 3 s. Then simulates a
# hundred worlds and prints how fast that went.
#
#   bench.sh [RUNS]    default 3; one JSON file per run in target/bench
set -eu

runs=${1:-3}
out=target/bench
mkdir -p "$out"
cargo build --release --quiet -p continuum

for ttl in 10s 3s; do
    run=1
    while [ "$run" -le "$runs" ]; do
        file="$out/lab-ttl-$ttl-run-$run.json"
        echo "== ttl $ttl, run $run of $runs"
        ./target/release/continuum lab --ttl "$ttl" --json "$file"
        run=$((run + 1))
    done
done
echo "== a hundred simulated worlds"
cargo run --quiet --profile sim -p continuum-sim -- --seeds 0..100 | tail -n 1

echo "figures: $out/*.json"
echo "against other orchestrators: bench/peers/README.md"
