#!/bin/bash
# A Prefect worker beside a Ray node of zero capacity: drivers that it starts are inside the cluster, and no training lands here. Also for a machine of
# your own beside a GPU cluster. Wants PREFECT_API_URL, RAY_ADDRESS and Ray's token in the environment; hands its arguments on to the worker. Ends when
# either of the two ends.
set -euo pipefail
set -m  # else what is put into the background ignores Ctrl-C, and a Prefect worker turns the SIGTERM that it gets into one

leave() {
    trap - EXIT
    if [ -n "${worker:-}" ]; then
        pkill -TERM --parent "$worker" || true  # its runs: each finishes its step and saves
        kill -TERM "$worker" 2> /dev/null || true
        wait "$worker" || true
    fi
    kill -TERM "$node" 2> /dev/null || true
    wait "$node" || true
}
trap leave EXIT
trap 'exit 143' TERM INT

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --disable-usage-stats --block &
node=$!
python -m infra.ray.await_nodes 1 300
kill -0 "$node"  # the cluster is there, and so is this node of it
prefect worker start --pool modelyard --type process "$@" &
worker=$!
wait -n "$node" "$worker"
