#!/usr/bin/env bash
# Runs the fault suite in its long form: each scenario several times, with longer phases. Arguments
# select scenarios by name. Needs redis-server and redis-cli, which scripts/test.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."

CURFEW_CHAOS=long cargo test --locked --test chaos -- "$@"
