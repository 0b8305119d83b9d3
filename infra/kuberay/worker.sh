#!/bin/bash
# A Prefect worker beside a Ray node of zero capacity: drivers that it starts are inside the cluster, and no training lands here. Also for a machine of
# your own beside a GPU cluster. Wants PREFECT_API_URL, RAY_ADDRESS and Ray's token in the environment. Ends when either of the two ends.
set -euo pipefail

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --disable-usage-stats --block &
node=$!
python -m infra.ray.await_nodes 1 300
prefect worker start --pool modelyard --type process --with-healthcheck &
worker=$!

leave() {
    trap - TERM INT
    pkill -TERM --parent "$worker" || true  # its runs: each finishes its step and saves
    kill -TERM "$worker" || true
    wait "$worker" || true
    kill -TERM "$node" || true
}
trap leave TERM INT
wait -n "$node" "$worker"
leave
