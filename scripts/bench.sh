#!/bin/sh
# Runs the lab in release several times and keeps its figures: ttl 10 s and ttl 3 s. Then simulates
# worlds, those of two regions and three control nodes and those of every shape, and prints how fast
# that went: 300 simulated seconds per wall second are expected of the former on two cores. Last, the
# witness server beside etcd, and ten thousand sessions on one core of it.
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
cargo build --quiet --profile sweep -p continuum-sim
echo "== simulated worlds of two regions and three control nodes"
./target/sweep/continuum-sim --jobs 2 --shape 2x3 --seeds 0..400 | tail -n 1
echo "== a hundred simulated worlds of every shape"
./target/sweep/continuum-sim --jobs 2 --seeds 0..100 | tail -n 1

# The clients have the other core, so that they take nothing from the servers.
cargo build --release --quiet -p continuum-bench
bench=${CARGO_TARGET_DIR:-target}/release/continuum-witness-bench
echo "== the witness server beside etcd, in turn"
taskset -c 1 "$bench" beside --server-core 0 --json "$out/witness-beside-etcd.json"
echo "== ten thousand sessions, each renewed every two seconds, on one core"
taskset -c 1 "$bench" paced --server-core 0 --json "$out/witness-paced.json"

echo "== the control API: 1,000 pairs, 200 requests a second, 1,000 streams of events"
"$bench" api --json "$out/api.json"

echo "figures: $out/*.json"
echo "against other orchestrators: bench/peers/README.md"
