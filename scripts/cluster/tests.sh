#!/usr/bin/env bash
# Applies the definitions and the rights that the tests need, and runs the tests that these arguments of `cargo test` name.
# scripts/cluster.sh calls it beside the servers.
set -euo pipefail

definitions=target/cluster/definitions
# Of Traefik, the other files are roles.
kubectl apply --server-side -f "$definitions/gateway-api" -f "$definitions/envoy-gateway" -f "$definitions/istio" \
  -f "$definitions/prometheus" -f "$definitions/traefik/kubernetes-crd-definition-v1.yml" \
  -f "$definitions/contour/01-crds.yaml" >/dev/null
kubectl create namespace curfew
kubectl create --namespace curfew serviceaccount curfew
for file in crds roles; do
  kubectl apply --server-side -f "deploy/kubernetes/components/policies/$file.yaml"
done
kubectl wait --for=condition=Established customresourcedefinition --all --timeout=60s >/dev/null

# The tests in tests/cluster use the rights of Curfew's service account: `kubectl proxy` adds its token to each request.
token=$(kubectl create token curfew --namespace curfew --duration 24h)
kubeconfig "{token: $token}" >"$run/curfew.yaml"
kubectl proxy --port=8001 >"$run/log/proxy-admin" 2>&1 &
kubectl --kubeconfig="$run/curfew.yaml" proxy --port=8002 >"$run/log/proxy-curfew" 2>&1 &
export CURFEW_TEST_KUBERNETES_ADMIN_URL=http://127.0.0.1:8001
export CURFEW_TEST_KUBERNETES_URL=http://127.0.0.1:8002
export CURFEW_TEST_ETCD_URL=http://127.0.0.1:2379
until curl -fs "$CURFEW_TEST_KUBERNETES_URL/readyz" && curl -fs "$CURFEW_TEST_KUBERNETES_ADMIN_URL/readyz"; do
  sleep 0.1
done >/dev/null

scripts/cluster/controllers.sh

cargo test --locked --offline --features kubernetes "$@"
