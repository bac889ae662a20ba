#!/usr/bin/env bash
# Starts the stack, and tests it. scripts/compose/engine.sh calls it.
set -euo pipefail

stop() {
  docker-compose --profile observability logs --no-color >target/compose/stack.log 2>&1 || true
  docker-compose --profile observability down --volumes --timeout 3 >/dev/null 2>&1 || true
}
trap stop EXIT
started=$(date +%s)
# No package has Grafana, so only Prometheus of the profile starts.
{
  docker-compose up --detach --no-build
  docker-compose --profile observability up --detach --no-build prometheus
} >target/compose/up.log 2>&1 || { cat target/compose/up.log && exit 1; }
until [ "$(docker ps --filter health=healthy --quiet | wc -l)" -eq 9 ]; do
  [ $(($(date +%s) - started)) -lt 120 ] || { docker ps --all && exit 1; }
  sleep 0.5
done
echo "the stack is healthy after $(($(date +%s) - started)) s"
docker ps --format '{{.Image}}: {{.Status}}'
cargo test --locked --offline --features kubernetes --test containers -- --nocapture
