#!/usr/bin/env bash
# Prepares the network and the files in the namespace that scripts/cluster.sh creates, and starts the servers there.
set -euo pipefail
cd "$(dirname "$0")/../.."

run=$PWD/target/cluster/run
rm -rf "$run"
mkdir -p "$run/root"

# The first address is that of the machine. The second address is that of the service `kubernetes`.
ip link set lo up
ip address add 192.0.2.10/32 dev lo
ip address add 198.51.100.1/32 dev lo
if [ -z "${node-}" ]; then
  # Without a node, servers of the tests stand for pods. EndpointSlices refuse loopback addresses, so the pods have the first
  # address. What connects to it reaches the loopback address.
  PATH="$PATH:/usr/sbin:/sbin" iptables -t nat -A OUTPUT -d 192.0.2.10 -j DNAT --to-destination 127.0.0.1
fi

# A root directory with the directories of this machine, but with its own /run and /etc/hosts, and with the directory from
# which Envoy Gateway reads certificates.
root=$run/root
mount -t tmpfs tmpfs "$root"
for path in /*; do
  if [ -L "$path" ]; then
    cp -a "$path" "$root$path"
  elif [ -d "$path" ]; then
    mkdir "$root$path"
    [ "$path" = /run ] || mount --rbind "$path" "$root$path"
  fi
done
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/certs"
echo "127.0.0.1 localhost
192.0.2.10 node
198.51.100.1 kubernetes.default.svc" >"$run/hosts"
mount --bind "$run/hosts" "$root/etc/hosts"
if [ -n "${node-}" ]; then
  # The kubelet and containerd write below these directories, and the kubelet changes these settings of the kernel.
  for directory in lib log; do
    mkdir "$run/var-$directory"
    mount --bind "$run/var-$directory" "$root/var/$directory"
  done
  mkdir "$run/kernel"
  for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    file=$run/kernel/${setting//\//.}
    cat "/proc/sys/$setting" >"$file"
    mount --bind "$file" "$root/proc/sys/$setting"
  done
fi
exec chroot "$root" /usr/bin/env --chdir="$PWD" scripts/cluster/servers.sh "$@"
