#!/usr/bin/env bash
# Runs the soak test: many sessions for a long time, on two replicas whose connection to Redis fails from time to
# time. Usage: scripts/soak.sh [SESSIONS [SECONDS]] (default: 100000 and 600). Plots the measurements to
# docs/images/soak.svg. Needs redis-server, which scripts/test.sh installs, and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools/plot
if [ ! -x "$tools/bin/python" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install -q --disable-pip-version-check matplotlib==3.10.8
fi
csv=$PWD/target/soak.csv
CURFEW_SOAK="${1:-100000},${2:-600}" CURFEW_SOAK_CSV=$csv cargo test --release --locked --test soak
"$tools/bin/python" scripts/soak_plot.py "$csv" docs/images/soak.svg
