#!/usr/bin/env bash
# Measures the Redis memory of a session. The argument is the number of sessions (default: 1000000,
# which needs 1 GiB and some minutes).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo bench --locked --bench memory -- "$@"
