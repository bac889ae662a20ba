#!/usr/bin/env bash
# Builds the servers of Kubernetes, and fetches definitions of resources, into target/cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=target/cluster
pinned="scripts/cluster/build.sh scripts/go.sh tests/packages/kubernetes/go.mod tests/packages/kubernetes/go.sum
tests/packages/kubernetes/main.go"
# shellcheck disable=SC2086 # five files
if cat $pinned | cmp -s - "$cluster/installed"; then
  exit
fi
source=$PWD/tests/packages/kubernetes
rm -rf "$cluster/installed"
mkdir -p "$cluster/bin" "$cluster/definitions"
(
  cd "$cluster"
  python=../proxies/bin/python
  source ../../scripts/go.sh
  find_go
  version=$(sed -n 's#^\tk8s.io/kubernetes v##p' "$source/go.mod")
  echo "building: Kubernetes $version"
  package=k8s.io/component-base/version
  variables="-X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
  destination=$PWD/bin/kubernetes
  (cd "$source" && CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -ldflags "-s -w $variables" -o "$destination" .)
  for server in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
    ln -sf kubernetes "bin/$server"
  done
  # Controllers. Go verifies the dependencies with the checksums in the go.sum of each controller.
  while read -r name package module sum; do
    echo "building: $name"
    unpack_module "$module" "$sum"
    destination=$PWD/bin/$name
    (cd "module/files/$module" &&
      CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -ldflags "-s -w" -o "$destination" "./$package")
  done <<'END'
haproxy-ingress pkg github.com/jcmoraisjr/haproxy-ingress@v0.16.1 h1:linvIu4jbh0EaINKTclzjbosJfzyCLpMg5A4OMO0ZKA=
envoy-gateway cmd/envoy-gateway github.com/envoyproxy/gateway@v1.9.0 h1:PaOpud15v3kDCl3L5yc1TdYzggCMpRm1yRjNKmLkzHA=
END
  rm -rf rootfs
  cp -r module/files/github.com/jcmoraisjr/haproxy-ingress@v0.16.1/rootfs rootfs

  # Definitions of resources, from the modules of their projects.
  while read -r name path module sum; do
    unpack_module "$module" "$sum"
    mkdir -p "definitions/$name"
    cp -r "module/files/$module"/$path "definitions/$name/"
  done <<'END'
gateway-api config/crd/experimental/gateway.*.yaml sigs.k8s.io/gateway-api@v1.6.3 h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=
envoy-gateway charts/gateway-helm/charts/crds/crds/generated/*.yaml github.com/envoyproxy/gateway@v1.9.0 h1:PaOpud15v3kDCl3L5yc1TdYzggCMpRm1yRjNKmLkzHA=
traefik docs/content/reference/dynamic-configuration/kubernetes-*.yml github.com/traefik/traefik/v3@v3.7.13 h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=
istio kubernetes/customresourcedefinitions.gen.yaml istio.io/api@v1.32.0 h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=
prometheus example/prometheus-operator-crd/monitoring.coreos.com_*s.yaml github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
END
  rm -r module
)
# shellcheck disable=SC2086
cat $pinned >"$cluster/installed"
