#!/usr/bin/env bash
# Starts the stack, and tests it. scripts/compose/engine.sh calls it.
set -euo pipefail

export COMPOSE_PROJECT_NAME=curfew
stop() {
  docker-compose logs --no-color >target/compose/stack.log 2>&1 || true
  docker-compose down --volumes --timeout 3 >/dev/null 2>&1 || true
}
trap stop EXIT
started=$(date +%s)
docker-compose up --detach --no-build >target/compose/up.log 2>&1 || { cat target/compose/up.log && exit 1; }
until [ "$(docker ps --filter health=healthy --quiet | wc -l)" -eq 8 ]; do
  [ $(($(date +%s) - started)) -lt 120 ] || { docker ps --all && exit 1; }
  sleep 0.5
done
echo "the stack is healthy after $(($(date +%s) - started)) s"
docker ps --format '{{.Image}}: {{.Status}}'
cargo test --locked --offline --features kubernetes --test containers -- --nocapture
