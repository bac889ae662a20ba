#!/usr/bin/env bash
# Ends the API server without warning, and starts it again. Returns when it answers.
set -euo pipefail

server=$(cat "$run/apiserver")
kill -9 "$server"
while kill -0 "$server" 2>/dev/null; do
  sleep 0.1
done
scripts/cluster/apiserver.sh >>"$run/log/apiserver.sh" 2>&1 </dev/null &
until kubectl get --raw /readyz >/dev/null 2>&1; do
  kill -0 "$!"
  sleep 0.1
done
