# syntax=docker/dockerfile:1
#
# Curfew in a container: one program, no shell, nobody in particular, nothing to write to.
#
#   docker build --build-arg REVISION="$(git rev-parse --short=12 HEAD)" --tag curfew .
#   docker run --read-only --cap-drop all --publish 9180:9180 curfew
#
# The same sources and base images give the same program: dependencies are those of Cargo.lock, paths of the build
# are not in it, and the revision and the date are given.

ARG RUST=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST}-slim-${DEBIAN} AS build
WORKDIR /curfew
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY migrations migrations
COPY deploy deploy
COPY benches benches
COPY tests tests
COPY examples examples
COPY src src
ARG REVISION=unknown
# Of the commit, if you like; the allocator's C code has the date of its compilation in it.
ARG SOURCE_DATE_EPOCH=0
ENV CURFEW_REVISION=${REVISION} \
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=/curfew=. --remap-path-prefix=/usr/local/cargo/registry=registry"
# Dependencies are downloaded and compiled once, whatever changes in the sources.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/curfew/target \
    cargo build --locked --release --bin curfew --example application \
    && install -D target/release/curfew target/release/examples/application --target-directory /out \
    && install -d /out/data

# Has the C library, certificates of authorities, and users; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot AS application
COPY --from=build /out/application /usr/local/bin/application
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
# For the keys that `curfew keygen --directory` makes, where a volume is mounted.
COPY --from=build --chown=65532:65532 /out/data /var/lib/curfew
USER 65532:65532
# check, grpc, spoe where it is on, browser, and ops. The admin API is on the loopback unless it is told otherwise.
EXPOSE 9180 9181 9182 9183 9189
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/curfew", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/curfew"]
CMD ["serve"]
