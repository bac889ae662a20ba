#!/usr/bin/env bash
# Builds the images of docker-compose.yml without an image registry, starts the whole stack in a real Docker, and tests it
# through each of its five proxies. Needs root, and Debian or Ubuntu.
#
#   scripts/compose.sh            the test
#   scripts/compose.sh --install  only installs the programs and builds the images
#
# Of the profile `observability`, only Prometheus runs, from Debian's package. Grafana is not tested, because no package has
# it.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
source scripts/packages.sh
install_packages dockerd=docker.io docker-compose=docker-compose mmdebstrap=mmdebstrap ip=iproute2
scripts/test.sh --install

# The images are built by an engine in the network of this machine, because the builds download packages. The containers
# run in another engine, in a network of its own.
scripts/compose/engine.sh host scripts/compose/images.sh
[ "${1-}" != --install ] || exit 0
cargo test --locked --features kubernetes --test containers --no-run
exec unshare --net scripts/compose/engine.sh own scripts/compose/test.sh
