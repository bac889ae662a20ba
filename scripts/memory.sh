#!/usr/bin/env bash
# Measures how much memory of Redis a session takes; the number of sessions is the argument
# (1000000 when left out, for which the machine needs 1 GiB and some minutes).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo bench --locked --bench memory -- "$@"
