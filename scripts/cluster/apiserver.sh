#!/usr/bin/env bash
# Runs the API server. scripts/cluster/servers.sh sets the variables.
echo $$ >"$run/apiserver"
exec "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
  --advertise-address=192.0.2.10 --secure-port=443 --service-cluster-ip-range=198.51.100.0/24 --cert-dir="$run" \
  --tls-cert-file="$keys/server.crt" --tls-private-key-file="$keys/server.key" --client-ca-file="$keys/ca.crt" \
  --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC --profiling=false \
  --enable-admission-plugins=NodeRestriction \
  --kubelet-client-certificate="$keys/admin.crt" --kubelet-client-key="$keys/admin.key" \
  --kubelet-certificate-authority="$keys/ca.crt" \
  --service-account-key-file="$keys/accounts.pub" --service-account-signing-key-file="$keys/accounts.key" \
  --audit-policy-file=scripts/cluster/audit-policy.yaml --audit-log-path="$run/log/audit"
