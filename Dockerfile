# The agent alone, in an empty image, for amd64 and arm64: `docker build .` as it stands. The base
# image and crates are all that it fetches. For another platform than the machine's own, the build
# stage runs emulated: `docker buildx build --platform linux/amd64,linux/arm64 --push --tag … .`, with
# a builder of the driver docker-container.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The one recipe for the static binary: static.toml. rust-toolchain.toml would fetch a toolchain
# that this image already is.
RUN rm rust-toolchain.toml \
    && target="$(uname -m)-unknown-linux-gnu" \
    && cargo build --release --locked --config static.toml --target "$target" \
    && install -D -m 0755 "target/$target/release/segura-agent" /image/segura-agent \
    && install -D -m 0644 LICENSE THIRD-PARTY-LICENSES.txt -t /image/licenses \
    && install -D -m 0644 sbom.cdx.json /image/sbom/segura-agent.cdx.json

FROM scratch
# The commit that is built: --build-arg REVISION="$(git rev-parse HEAD)".
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segura-agent" \
      org.opencontainers.image.description="Secrets agent for Segura (senhasegura) DevOps Secret Manager" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# Numeric, so that the kubelet can tell that it is not root where runAsNonRoot is set.
USER 65532:65532
ENTRYPOINT ["/segura-agent"]
