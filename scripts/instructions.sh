#!/usr/bin/env bash
# Counts the CPU instructions of a whole check. Fails if a count is more than 3 % higher than in
# scripts/bench/instructions.json. `--record` writes the new counts to that file. Installs the required packages
# (Debian, Ubuntu).
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/packages.sh
install_packages valgrind=valgrind redis-server=redis-server redis-cli=redis-tools python3=python3

exec python3 scripts/bench/instructions.py "$@"
