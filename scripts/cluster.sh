#!/usr/bin/env bash
# Runs the tests against a real Kubernetes API server. The servers of Kubernetes are programs of this machine, in a network
# namespace of their own. Nothing comes from an image registry.
#
#   scripts/cluster.sh                the tests in tests/cluster, tests/kubernetes and tests/proxies
#   scripts/cluster.sh ARGUMENTS      only these tests, such as `--test proxies -- Envoy`
#   scripts/cluster.sh --install      only installs and builds what they need
#   scripts/cluster.sh --run COMMAND  runs a command beside the servers
#
# The first run builds Kubernetes and two controllers: about 15 minutes on two cores, and 4 GB below target/cluster until they
# are built.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/packages.sh
install_packages ip=iproute2 iptables=iptables unshare=util-linux openssl=openssl
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
