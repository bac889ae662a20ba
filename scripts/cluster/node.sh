#!/usr/bin/env bash
# Starts a node: containerd, the kubelet, the scheduler, kube-proxy and a DNS server. scripts/cluster/servers.sh sources this
# file, and defines the functions.

pods=203.0.113.0/24
# Pods on one bridge reach each other through services.
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
echo 1 >/proc/sys/net/ipv4/ip_forward
export PATH="$PATH:/usr/sbin:/sbin"
# Requests of this machine to services need a route before kube-proxy changes their destination.
ip route add 198.51.100.0/24 dev lo src 192.0.2.10

certificate node /O=system:nodes/CN=system:node:node "subjectAltName=DNS:node,IP:192.0.2.10" \
  extendedKeyUsage=clientAuth,serverAuth
for server in scheduler proxy; do
  certificate "$server" "/CN=system:kube-$server" extendedKeyUsage=clientAuth
done
for server in node scheduler proxy; do
  kubeconfig "{client-certificate: $keys/$server.crt, client-key: $keys/$server.key}" >"$run/$server.yaml"
done

mkdir -p "$run/cni"
cat >"$run/cni/10-pods.conflist" <<END_OF_FILE
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END_OF_FILE
cat >"$run/containerd.toml" <<END_OF_FILE
version = 2
root = "$run/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.10"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$run/cni"
END_OF_FILE
start containerd --config "$run/containerd.toml"
wait_for "containerd answers" ctr --address /run/containerd/socket version
for image in target/cluster/images/*.tar; do
  ctr --address /run/containerd/socket --namespace k8s.io images import "$image" >>"$run/log/images"
done

echo "nameserver 192.0.2.10" >"$run/resolv.conf"
cat >"$run/kubelet.yaml" <<END_OF_FILE
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/socket
authentication: { x509: { clientCAFile: "$keys/ca.crt" } }
tlsCertFile: $keys/node.crt
tlsPrivateKeyFile: $keys/node.key
podLogsDir: $run/pods
resolvConf: $run/resolv.conf
clusterDNS: [192.0.2.10]
clusterDomain: cluster.local
# The directories of control groups of this machine. Older machines have version 1.
failCgroupV1: false
cgroupDriver: cgroupfs
oomScoreAdj: 0
makeIPTablesUtilChains: false
# A full disk of this machine is no reason to end pods.
evictionHard: { memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0% }
imageGCHighThresholdPercent: 100
END_OF_FILE
start "$bin/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$run/node.yaml" --root-dir "$run/kubelet" \
  --hostname-override node --node-ip 192.0.2.10
start "$bin/kube-scheduler" --kubeconfig "$run/scheduler.yaml" --leader-elect=false --profiling=false \
  --bind-address=127.0.0.1 --secure-port=10260 --cert-dir="$run"
start "$bin/kube-proxy" --kubeconfig "$run/proxy.yaml" --cluster-cidr="$pods" --hostname-override node \
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
  --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249
start scripts/cluster/dns.sh
wait_for "the node is ready" kubectl wait --for=condition=Ready node/node --timeout=1s
