#!/usr/bin/env bash
# Starts Docker, runs a command, and stops Docker. The first argument is `host` for an engine that only builds, or `own` in a
# network namespace.
set -euo pipefail

network=$1
shift
directory=$PWD/target/compose
mkdir -p "$directory"
# The path of a socket must be short.
runtime=$(mktemp -d /tmp/compose-XXXXXX)
options=()
case $network in
  host) options=(--iptables=false --ip6tables=false --ip-forward=false --bridge=none) ;;
  own) ip link set lo up ;;
esac
# Debian's programs come first: another `docker` on the path may lack BuildKit.
export DOCKER_HOST=unix://$runtime/socket PATH="/usr/bin:/usr/sbin:/sbin:$PATH"
dockerd --data-root "$directory/data" --exec-root "$runtime/exec" --pidfile "$runtime/pid" --host "$DOCKER_HOST" \
  "${options[@]}" >"$directory/$network.log" 2>&1 &
engine=$!
stop() {
  kill "$engine" 2>/dev/null || true
  wait "$engine" || true
  umount --lazy "$runtime/exec/netns/default" 2>/dev/null || true
  rm -rf "$runtime"
}
trap stop EXIT
until docker version >/dev/null 2>&1; do
  kill -0 "$engine" || { tail "$directory/$network.log" && exit 1; }
  sleep 0.2
done
"$@"
