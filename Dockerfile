# The agent alone, in an empty image, for amd64 and arm64: `docker build .` without options. The base image,
# crates, and a compiler for the other platform are all that it fetches. For both platforms, with a
# builder of the driver docker-container:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --push --tag … .
#
# The build stage runs on the machine's own platform and compiles for the other: nothing is emulated.

FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# The one recipe for the static binary: static.toml. rust-toolchain.toml would fetch a toolchain
# that this image already is.
RUN rm rust-toolchain.toml \
    && case "$TARGETARCH" in \
        amd64) machine=x86_64 cross=x86-64 ;; \
        arm64) machine=aarch64 cross=aarch64 ;; \
        "") machine="$(uname -m)" ;; \
        *) echo "there is no recipe for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && target="$machine-unknown-linux-gnu" \
    && if [ "$machine" != "$(uname -m)" ]; then \
        linker="$machine-linux-gnu-gcc" \
        && { command -v "$linker" >/dev/null \
            || { apt-get update && apt-get install -y --no-install-recommends "gcc-$cross-linux-gnu" "libc6-dev-$TARGETARCH-cross"; }; } \
        && { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || rustup target add "$target"; } \
        && export "CARGO_TARGET_$(echo "$machine" | tr a-z A-Z)_UNKNOWN_LINUX_GNU_LINKER=$linker"; \
    fi \
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
