#!/usr/bin/env bash
# Runs the fault suite for longer: each scenario several times, with longer phases. To run only some scenarios,
# pass parts of their names as arguments. Needs redis-server and redis-cli, which scripts/test.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."

CURFEW_CHAOS=long cargo test --locked --test chaos -- "$@"
