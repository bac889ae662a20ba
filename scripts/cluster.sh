#!/usr/bin/env bash
# Runs the tests against a real Kubernetes API server. The servers of Kubernetes are programs of this machine, in a network
# namespace of their own. Nothing comes from an image registry.
#
#   scripts/cluster.sh                the tests in tests/cluster and tests/kubernetes
#   scripts/cluster.sh --install      only installs and builds what they need
#   scripts/cluster.sh --run COMMAND  runs a command beside the servers
#
# The first run builds Kubernetes: about ten minutes on two cores, and 4 GB below target/cluster until it is built.
set -euo pipefail
cd "$(dirname "$0")/.."

needed=(ip=iproute2 iptables=iptables unshare=util-linux openssl=openssl)
missing=()
for need in "${needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}"
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -q
  $sudo apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
scripts/test.sh --install
scripts/cluster/build.sh

if [ "${1-}" = --install ]; then
  exit
fi
if [ "${1-}" = --run ]; then
  shift
else
  # Everything is built before the namespace is entered, because there is no network in it.
  cargo test --locked --features kubernetes --test cluster --test kubernetes --test proxies --no-run
  set -- scripts/cluster/tests.sh "$@"
fi
user=()
[ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
# When this command ends, the kernel ends all processes in the namespace.
exec unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc scripts/cluster/namespace.sh "$@"
