#!/usr/bin/env bash
# Runs Autobahn's WebSocket test suite against its own server for tests (`testeeserver`, which also compresses messages),
# once directly and once through Curfew's proxy listener, and compares the results of all cases. Takes about 40 minutes.
# Usage: scripts/autobahn.sh [CASES], for example scripts/autobahn.sh '"1.*", "5.*"'
#
# The test suite needs Python 2.7, which Debian 12 does not have. Set PYTHON2 to its program if it is not in PATH. Set CURFEW
# to use a program that is already built.
set -euo pipefail
cd "$(dirname "$0")/.."
cases=${1:-'"*"'}
python2=${PYTHON2:-$(command -v python2.7 || true)}
[ -n "$python2" ] || { echo "Python 2.7 is missing: set PYTHON2 to its program" >&2; exit 1; }

work=target/autobahn
rm -rf "$work"
mkdir -p "$work"
work=$(realpath "$work")
"$python2" -m virtualenv --version >/dev/null 2>&1 || "$python2" -m pip install -q --user virtualenv
"$python2" -m virtualenv -q "$work/python"
"$work/python/bin/pip" install -q autobahntestsuite==25.10.1
if [ -z "${CURFEW:-}" ]; then
  cargo build --locked --release
  CURFEW=${CARGO_TARGET_DIR:-target}/release/curfew
fi
curfew=$CURFEW

# Stops all servers at the end.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "nothing listens on $1" >&2; exit 1; }

echo_port=$(free_port) proxy=$(free_port) admin=$(free_port) direct=$(free_port) relayed=$(free_port)
"$work/python/bin/wstest" -m testeeserver -w "ws://127.0.0.1:$echo_port" >"$work/echo.log" 2>&1 &
wait_for "$echo_port"
cat >"$work/curfew.yaml" <<END
listen: {check: '127.0.0.1:0', grpc: 'off', browser: 'off', ops: '127.0.0.1:0', admin: '127.0.0.1:$admin', proxy: '127.0.0.1:$proxy'}
proxy: {upstreams: [{host: 127.0.0.1, target: 'http://127.0.0.1:$echo_port'}]}
# One session lasts for the whole run.
policies: {default: {idle: 'off', absolute: 24h}}
END
mapfile -t keys < <("$curfew" keygen --admin)
token=${keys[0]##* } hash=${keys[1]##* }
CURFEW__ADMIN__TOKEN_HASHES=$hash "$curfew" serve --config "$work/curfew.yaml" >"$work/curfew.log" 2>&1 &
wait_for "$proxy"
session=$(curl -sS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d '{"subject":"autobahn"}' \
  "http://127.0.0.1:$admin/api/v1/sessions")
cookie=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["set_cookie"].split(";")[0])' "$session")

for kind in direct relayed; do
  if [ "$kind" = direct ]; then listen=$direct target=$echo_port; else listen=$relayed target=$proxy; fi
  # Both runs use the same helper, so that only Curfew is different.
  python3 scripts/conformance/insert_cookie.py "$listen" "$target" "127.0.0.1:$echo_port" "$cookie" &
  wait_for "$listen"
  cat >"$work/$kind.json" <<END
{ "outdir": "$work/$kind", "servers": [{ "agent": "$kind", "url": "ws://127.0.0.1:$listen" }],
  "cases": [$cases], "exclude-cases": [], "exclude-agent-cases": {} }
END
  "$work/python/bin/wstest" -m fuzzingclient -s "$work/$kind.json" >"$work/$kind.log" 2>&1
done
python3 scripts/conformance/compare.py "$work/direct" "$work/relayed" | tee "$work/result.txt"
