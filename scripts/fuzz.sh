#!/usr/bin/env bash
# Runs each fuzz target with coverage feedback for SECONDS (default: 60). Writes a table of the runs to
# target/fuzz.md. Usage: scripts/fuzz.sh [SECONDS [TARGET...]]
#
# Installs cargo-fuzz if it is missing. Stable Rust is enough: Curfew has no unsafe code, so it needs no sanitizer.
# Debug assertions and overflow checks are on. If a target fails, the input is in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi

cargo fuzz build --sanitizer none
built=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release
mkdir -p fuzz/artifacts target
log=$(mktemp)
trap 'rm -f "$log"' EXIT
table=$'| target | runs | runs a second | covered edges | inputs kept |\n|---|---|---|---|---|'
echo "$table"
for target in "${targets[@]}"; do
  corpus=fuzz/corpus/$target
  mkdir -p "$corpus"
  if ! "$built/$target" -artifact_prefix="fuzz/artifacts/$target-" -max_total_time="$seconds" -timeout=10 \
    -max_len=8192 -print_final_stats=1 "$corpus" "fuzz/seeds/$target" >"$log" 2>&1; then
    tail -40 "$log" >&2
    echo "$target: failed" >&2
    exit 1
  fi
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  covered=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
  row="| \`$target\` | $(stat number_of_executed_units) | $(stat average_exec_per_sec) | ${covered#cov: } | $(find "$corpus" -type f | wc -l) |"
  echo "$row"
  table+=$'\n'$row
done
echo "$table" >target/fuzz.md
