#!/usr/bin/env bash
# Builds the images of docker-compose.yml without an image registry, starts the whole stack in a real Docker, and tests it
# through each of its five proxies. Needs root, and Debian or Ubuntu.
#
#   scripts/compose.sh            the test
#   scripts/compose.sh --install  only installs the programs and builds the images
#
# The profile `observability` is not tested, because no package has Grafana.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
needed=(dockerd=docker.io docker-compose=docker-compose mmdebstrap=mmdebstrap ip=iproute2)
missing=()
for need in "${needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # The script starts an engine of its own, so do not start the service of the package.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
scripts/test.sh --install

# The images are built by an engine in the network of this machine, because the builds download packages. The containers
# run in another engine, in a network of its own.
scripts/compose/engine.sh host scripts/compose/images.sh
[ "${1-}" != --install ] || exit 0
cargo test --locked --features kubernetes --test containers --no-run
exec unshare --net scripts/compose/engine.sh own scripts/compose/test.sh
