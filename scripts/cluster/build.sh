#!/usr/bin/env bash
# Builds the servers of Kubernetes and the controllers, and fetches definitions of resources, into target/cluster. Builds only
# what has changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=$PWD/target/cluster
source=$PWD/tests/packages/kubernetes
python=$PWD/target/proxies/bin/python
version=$(sed -n 's#^\tk8s.io/kubernetes v##p' "$source/go.mod")
mkdir -p "$cluster/bin" "$cluster/built"
work=$cluster/build
mkdir -p "$work"
cd "$work"
source ../../../scripts/go.sh

# Whether a part is built from these sources. The other arguments name the sources.
is_built() { # part, sources
  [ "$(cat "$cluster/built/$1" 2>/dev/null)" = "${*:2}" ]
}
set_built() { # part, sources
  echo "${*:2}" >"$cluster/built/$1"
}
build() { # program, package. In the directory of the module
  echo "building: $1"
  CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -ldflags "-s -w ${variables-}" -o "$cluster/bin/$1" "$2"
}

# The servers of Kubernetes.
sum=$(cat "$source"/* | sha256sum)
if ! is_built kubernetes "$sum"; then
  find_go
  package=k8s.io/component-base/version
  variables="-X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
  (cd "$source" && build kubernetes .)
  variables=
  for server in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
    ln -sf kubernetes "$cluster/bin/$server"
  done
  # The container that holds the network of a pod runs this program.
  gcc -static -Os -DVERSION=3.10 -o "$cluster/bin/pause" "$GOMODCACHE/k8s.io/kubernetes@v$version/build/pause/linux/pause.c"
  set_built kubernetes "$sum"
fi

# Controllers. Go verifies the dependencies with the checksums in the go.sum of each controller.
while read -r name package module sum; do
  if ! is_built "$name" "$module" "$sum"; then
    [ -n "${go-}" ] || find_go
    unpack_module "$module" "$sum"
    (cd "module/files/$module" && build "$name" "./$package")
    [ "$name" != haproxy-ingress ] || { rm -rf "$cluster/rootfs" && cp -r "module/files/$module/rootfs" "$cluster/rootfs"; }
    set_built "$name" "$module" "$sum"
  fi
done <<'END_OF_LIST'
haproxy-ingress pkg github.com/jcmoraisjr/haproxy-ingress@v0.16.1 h1:linvIu4jbh0EaINKTclzjbosJfzyCLpMg5A4OMO0ZKA=
contour cmd/contour github.com/projectcontour/contour@v1.33.8 h1:QoOfwqWws+CVRFpsRC2+f1DmB5IdurtyUtepIsiWfE0=
envoy-gateway cmd/envoy-gateway github.com/envoyproxy/gateway@v1.9.0 h1:PaOpud15v3kDCl3L5yc1TdYzggCMpRm1yRjNKmLkzHA=
END_OF_LIST

# The values of a chart have placeholders, which a release of the project replaces.
complete_values() { # directory
  sed 's/\${GatewayImage}/envoyproxy\/gateway:v0.0.0/; s/\${GatewayImagePullPolicy}/IfNotPresent/' "$1/values.tmpl.yaml" >"$1/values.yaml"
}

# Definitions of resources, from the modules of their projects.
while read -r name path module sum; do
  if ! is_built "definitions-$name" "$path" "$module" "$sum"; then
    unpack_module "$module" "$sum"
    rm -rf "$cluster/definitions/$name"
    mkdir -p "$cluster/definitions/$name"
    cp -r "module/files/$module"/$path "$cluster/definitions/$name/"
    [ "$name" != envoy-gateway-chart ] || complete_values "$cluster/definitions/$name"
    set_built "definitions-$name" "$path" "$module" "$sum"
  fi
done <<'END_OF_LIST'
gateway-api config/crd/experimental/gateway.*.yaml sigs.k8s.io/gateway-api@v1.6.3 h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=
envoy-gateway charts/gateway-helm/charts/crds/crds/generated/*.yaml github.com/envoyproxy/gateway@v1.9.0 h1:PaOpud15v3kDCl3L5yc1TdYzggCMpRm1yRjNKmLkzHA=
envoy-gateway-chart charts/gateway-helm/* github.com/envoyproxy/gateway@v1.9.0 h1:PaOpud15v3kDCl3L5yc1TdYzggCMpRm1yRjNKmLkzHA=
contour examples/contour/0[0-2]-*.yaml github.com/projectcontour/contour@v1.33.8 h1:QoOfwqWws+CVRFpsRC2+f1DmB5IdurtyUtepIsiWfE0=
traefik docs/content/reference/dynamic-configuration/kubernetes-*.yml github.com/traefik/traefik/v3@v3.7.13 h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=
istio kubernetes/customresourcedefinitions.gen.yaml istio.io/api@v1.32.0 h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=
prometheus example/prometheus-operator-crd/monitoring.coreos.com_*s.yaml github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
END_OF_LIST
# The modules and the files of the compiler are of no use any more.
cd ..
rm -rf "$work" "$cluster/installed"
