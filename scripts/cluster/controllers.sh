#!/usr/bin/env bash
# Prepares the controllers: their rights, and one Envoy Gateway for all tests. The tests start the other controllers.
set -euo pipefail

definitions=target/cluster/definitions
roles() { # of a controller's documentation, on standard input
  awk -v RS='---\n' '/kind: ClusterRole\n/ { print RS $0 }' | kubectl apply -f -
}
account() { # controller, roles
  kubectl create --namespace controllers serviceaccount "$1"
  for role in "${@:2}"; do
    kubectl create clusterrolebinding "$1-$role" --clusterrole "$role" --serviceaccount "controllers:$1"
  done
  kubeconfig "{token: $(kubectl create token "$1" --namespace controllers --duration 24h)}" >"$run/$1.yaml"
}
{
  kubectl create namespace controllers
  for kind in crd gateway ingress-nginx; do
    roles <"$definitions/traefik/kubernetes-$kind-rbac.yml"
  done
  account traefik traefik-ingress-controller gateway-role traefik-ingress-nginx-controller
  kubectl apply -f - <<'END'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: haproxy-ingress }
rules:
  - { apiGroups: [""], resources: [configmaps, secrets, endpoints, nodes, pods, services, namespaces], verbs: [get, list, watch] }
  - { apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch] }
  - { apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch] }
  - { apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [get, update, patch] }
  - { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch] }
  - { apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch] }
---
# haproxy-ingress looks for its own pod.
apiVersion: v1
kind: Pod
metadata: { name: haproxy-ingress, namespace: controllers, labels: { app: haproxy-ingress } }
spec: { containers: [{ name: haproxy-ingress, image: haproxy-ingress }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: traefik }
spec: { controllerName: traefik.io/gateway-controller }
END
  account haproxy-ingress haproxy-ingress
  roles <"$definitions/contour/02-role-contour.yaml"
  account contour contour
  helm template envoy-gateway "$definitions/envoy-gateway-chart" --set fullnameOverride=envoy-gateway \
    --show-only templates/envoy-gateway-rbac.yaml | roles
  account envoy-gateway envoy-gateway-envoy-gateway-role
} >"$run/log/controllers" 2>&1

# Envoy Gateway runs the Envoy of the tests as a process of this machine.
directory=$run/envoy-gateway
envoy=1.40.0
mkdir -p "$directory"/{config,data,state,run,home} "$directory/data/envoy-versions/$envoy/bin"
ln -s "$PWD/target/proxies/envoy" "$directory/data/envoy-versions/$envoy/bin/envoy"
cat >"$directory/settings.yaml" <<END
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: { controllerName: gateway.envoyproxy.io/gatewayclass-controller }
provider:
  type: Custom
  custom:
    resource: { type: Kubernetes, kubernetes: { leaderElection: { disable: true } } }
    infrastructure:
      type: Host
      host:
        configHome: $directory/config
        dataHome: $directory/data
        stateHome: $directory/state
        runtimeDir: $directory/run
END
export HOME=$directory/home ENVOY_GATEWAY_NAMESPACE=envoy-gateway-system
{
  target/cluster/bin/envoy-gateway certgen --local --config-home "$directory/config"
  certificates=$directory/config/certs
  kubectl create namespace envoy-gateway-system
  kubectl create --namespace envoy-gateway-system secret generic envoy-oidc-hmac \
    --from-file=hmac-secret="$certificates/envoy-oidc-hmac/hmac-secret"
  kubectl create --namespace envoy-gateway-system secret generic envoy \
    --from-file="$certificates/envoy/ca.crt" --from-file="$certificates/envoy/tls.crt" --from-file="$certificates/envoy/tls.key"
  cp "$certificates"/envoy-gateway/* /certs/
  # One Envoy serves the Gateways of all tests.
  kubectl apply -f - <<END
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: { name: tests, namespace: envoy-gateway-system }
spec:
  mergeGateways: true
  provider: { type: Host, host: { envoyVersion: "$envoy" } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: envoy-gateway }
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: { group: gateway.envoyproxy.io, kind: EnvoyProxy, name: tests, namespace: envoy-gateway-system }
END
} >>"$run/log/controllers" 2>&1
KUBECONFIG=$run/envoy-gateway.yaml target/cluster/bin/envoy-gateway server --config-path "$directory/settings.yaml" >"$run/log/envoy-gateway" 2>&1 </dev/null &
