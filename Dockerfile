# syntax=docker/dockerfile:1
#
# Curfew in a distroless image: no shell, non-root user, read-only file system.
#
#   docker build --build-arg REVISION="$(git rev-parse --short=12 HEAD)" --tag curfew .
#   docker run --read-only --cap-drop all --publish 9180:9180 curfew
#
# The build is reproducible from the same sources and base images: dependencies come from Cargo.lock, build paths are
# removed, and the revision and the date are arguments.

ARG RUST=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST}-slim-${DEBIAN} AS sources
WORKDIR /curfew
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY migrations migrations
COPY deploy deploy
COPY benches benches
COPY tests tests
COPY examples examples
COPY src src
# The allocator's C code contains its compilation date. For a reproducible build, pass a fixed date, such as the time of
# the commit.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=/curfew=. --remap-path-prefix=/usr/local/cargo/registry=registry"

# The two mounts keep downloaded and compiled dependencies for the next build, so only changed sources are compiled.
FROM sources AS build
ARG REVISION=unknown
ENV CURFEW_REVISION=${REVISION}
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/curfew/target \
    cargo build --locked --release --features kubernetes --bin curfew \
    && install -D target/release/curfew --target-directory /out \
    && install -d /out/data

# A stage of its own: the features of the dependencies that only examples and tests need must not get into Curfew.
FROM sources AS build-application
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/curfew/target \
    cargo build --locked --release --example application \
    && install -D target/release/examples/application --target-directory /out

# The base image contains the C library, CA certificates and users, but no shell.
FROM gcr.io/distroless/cc-debian12:nonroot AS application
COPY --from=build-application /out/application /usr/local/bin/application
USER 65532:65532
EXPOSE 3000
ENTRYPOINT ["/usr/local/bin/application"]

FROM gcr.io/distroless/cc-debian12:nonroot AS curfew
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Curfew" \
      org.opencontainers.image.description="Sessions that end on time, enforced at the edge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /out/curfew /usr/local/bin/curfew
COPY LICENSE /usr/share/doc/curfew/LICENSE
# The mount point of a volume with the keys of `curfew keygen --directory`.
COPY --from=build --chown=65532:65532 /out/data /var/lib/curfew
USER 65532:65532
# The listeners check, grpc, spoe and proxy (if enabled), browser and ops. By default, the listener admin uses the loopback
# address, so it needs no port here.
EXPOSE 9180 9181 9182 9183 9184 9189
# Images in the OCI format, for example of `buildah`, do not contain this line. Then set the same command in the container
# engine, as docker-compose.yml does. Kubernetes uses the probes of deploy/kubernetes.
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/curfew", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/curfew"]
CMD ["serve"]
