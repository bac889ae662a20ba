#!/usr/bin/env bash
# Runs the tests against a real Kubernetes API server. The servers of Kubernetes are programs of this machine, in a network
# namespace of their own. Nothing comes from an image registry.
#
#   scripts/cluster.sh                the tests in tests/cluster, tests/kubernetes and tests/proxies
#   scripts/cluster.sh ARGUMENTS      only these tests, such as `--test proxies -- Envoy`
#   scripts/cluster.sh --node         the tests in tests/node: with a node, which runs pods. Needs root
#   scripts/cluster.sh --install      only installs and builds what they need
#   scripts/cluster.sh --run COMMAND  runs a command beside the servers
#
# `--node` before the other arguments adds the node to them. The first run builds Kubernetes and three controllers: about 15
# minutes on two cores, and 4 GB below target/cluster until they are built. The first run with a node also builds the images
# of scripts/compose.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

node=
if [ "${1-}" = --node ]; then
  shift
  [ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" --node "$@"
  node=1
fi
export node

source scripts/packages.sh
install_packages ip=iproute2 iptables=iptables unshare=util-linux openssl=openssl
scripts/test.sh --install
scripts/cluster/build.sh
if [ -n "$node" ]; then
  install_packages containerd=containerd /usr/lib/cni/bridge=containernetworking-plugins dnsmasq=dnsmasq-base
  scripts/compose.sh --install
  scripts/compose/engine.sh host scripts/cluster/images.sh
fi

if [ "${1-}" = --install ]; then
  exit
fi
tests=(--test cluster --test kubernetes --test proxies)
run=scripts/cluster/tests.sh
if [ -n "$node" ]; then
  tests=(--test node)
  run="cargo test --locked --offline --features kubernetes"
fi
if [ "${1-}" = --run ]; then
  shift
else
  # Everything is built before the namespace is entered, because there is no network in it.
  cargo test --locked --features kubernetes "${tests[@]}" --no-run
  [ "$#" -gt 0 ] || set -- "${tests[@]}"
  # shellcheck disable=SC2086 # a command
  set -- $run "$@"
  # The tests of one program share the cluster, so they run one after the other.
  export RUST_TEST_THREADS=1
fi
user=()
[ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
# The kubelet leaves its control groups.
[ -z "$node" ] || trap 'find /sys/fs/cgroup -depth -type d -path "*/kubepods*" -exec rmdir {} +' EXIT
# When this command ends, the kernel ends all processes in the namespace.
unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc scripts/cluster/namespace.sh "$@"
