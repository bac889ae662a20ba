#!/usr/bin/env bash
# Starts etcd, kube-apiserver and kube-controller-manager, and runs a command beside them. scripts/cluster/namespace.sh
# calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=$PWD/target/cluster
bin=$cluster/bin
run=$cluster/run
keys=$run/keys
mkdir -p "$run/log" "$keys"
export run keys bin
export PATH="$cluster/bin:$PWD/target/proxies:$PATH" KUBECONFIG=$run/admin.yaml KUBECACHEDIR=$run/cache

# Keys and certificates.
key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$keys/$1.key"
}
certificate() { # name, subject, extensions
  key "$1"
  openssl req -new -key "$keys/$1.key" -subj "$2" -out "$keys/$1.csr"
  openssl x509 -req -in "$keys/$1.csr" -CA "$keys/ca.crt" -CAkey "$keys/ca.key" -days 2 -out "$keys/$1.crt" \
    -extfile <(printf '%s\n' "${@:3}") 2>>"$run/log/openssl"
}
key ca
openssl req -x509 -new -key "$keys/ca.key" -subj /CN=ca -days 2 -out "$keys/ca.crt" \
  -addext keyUsage=critical,keyCertSign,cRLSign
key accounts
openssl ec -in "$keys/accounts.key" -pubout -out "$keys/accounts.pub" 2>>"$run/log/openssl"
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost
certificate server /CN=kube-apiserver "subjectAltName=$names,IP:127.0.0.1,IP:192.0.2.10,IP:198.51.100.1" extendedKeyUsage=serverAuth
certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth

kubeconfig() { # user
  echo "{apiVersion: v1, kind: Config, current-context: cluster,
clusters: [{name: cluster, cluster: {server: 'https://198.51.100.1', certificate-authority: $keys/ca.crt}}],
users: [{name: user, user: $1}],
contexts: [{name: cluster, context: {cluster: cluster, user: user, namespace: default}}]}"
}
kubeconfig "{client-certificate: $keys/admin.crt, client-key: $keys/admin.key}" >"$KUBECONFIG"

started=()
start() { # program, arguments
  "$@" >"$run/log/$(basename "$1")" 2>&1 </dev/null &
  started+=("$!=$1")
}
wait_for() { # description, command
  local description=$1
  shift
  for _ in $(seq 1200); do
    if "$@" >/dev/null 2>&1; then
      return
    fi
    for server in "${started[@]}"; do
      if ! kill -0 "${server%%=*}" 2>/dev/null; then
        tail -20 "$run/log/$(basename "${server#*=}")" >&2
        echo "error: $(basename "${server#*=}") has ended" >&2
        exit 1
      fi
    done
    sleep 0.1
  done
  echo "error: timeout: $description" >&2
  exit 1
}

begin=$(date +%s%3N)
# Nothing needs to survive a crash, so etcd does not wait for the disk.
start "$bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380
wait_for "etcd answers" curl -fs http://127.0.0.1:2379/health
start scripts/cluster/apiserver.sh
wait_for "the API server is ready" kubectl get --raw /readyz
start "$bin/kube-controller-manager" --kubeconfig="$KUBECONFIG" --leader-elect=false --cert-dir="$run" \
  --service-account-private-key-file="$keys/accounts.key" --root-ca-file="$keys/ca.crt" --profiling=false \
  --bind-address=127.0.0.1
wait_for "the controllers have created the service account" kubectl get serviceaccount default
[ -z "${node-}" ] || source scripts/cluster/node.sh
echo "Kubernetes is ready after $(($(date +%s%3N) - begin)) ms"

export -f kubeconfig
export CURFEW_TEST_CLUSTER=1
"$@"
