#!/usr/bin/env bash
# Counts the CPU instructions of a whole check. Fails if a count is more than 3 % higher than in
# scripts/bench/instructions.json. `--record` writes the new counts to that file. Installs the required packages
# (Debian, Ubuntu).
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for need in valgrind=valgrind redis-server=redis-server redis-cli=redis-tools python3=python3; do
  command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}"
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -q
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

exec python3 scripts/bench/instructions.py "$@"
