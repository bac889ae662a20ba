#!/usr/bin/env bash
# Measures how much memory Redis needs for a session. The argument is the number of sessions. The default is
# 1000000, which needs 1 GiB and some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo bench --locked --bench memory -- "$@"
