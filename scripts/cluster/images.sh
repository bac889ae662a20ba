#!/usr/bin/env bash
# Writes the images that the node needs into target/cluster/images. scripts/compose/engine.sh calls it.
set -euo pipefail

images=target/cluster/images
rm -rf "$images"
mkdir -p "$images"
# The program of the container that holds the network of a pod.
tar -C target/cluster/bin -c pause | docker import --change 'ENTRYPOINT ["/pause"]' - registry.k8s.io/pause:3.10 >/dev/null
# The overlays and the chart name a version.
docker tag curfew:latest curfew:0.1.0
for image in registry.k8s.io/pause:3.10 curfew:0.1.0 redis:7.4-bookworm; do
  name=${image##*/}
  docker save --output "$images/${name%%:*}.tar" "$image"
done
