#!/usr/bin/env bash
# Counts the instructions of a whole check. Fails if there are more than recorded in
# scripts/bench/instructions.json; `--record` records them. Installs valgrind (Debian, Ubuntu).
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
