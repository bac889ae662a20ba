#!/usr/bin/env bash
# Records again what the client libraries of well-known applications send over an idle WebSocket, for the presets of
# `stream_heartbeats`. Needs Chromium, Python and Node.js, as the tests do. Takes about four minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/target/proxies/bin:$PATH"
source=$PWD/tests/streams/heartbeats
work=target/heartbeats
mkdir -p "$work"
cp "$source"/*.mjs "$source"/package*.json "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
python3 -m venv python
python/bin/pip install -q --disable-pip-version-check jupyterlab==4.6.6 jupyter-collaboration==5.0.4 ipykernel==7.4.0
node record.mjs "$source/traces"
node jupyter.mjs "$source/traces" "$PWD/python/bin/jupyter"
