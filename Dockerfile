# The agent alone, in an empty image. Built as it stands with `docker build .`; the base image and
# crates are all that it fetches.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The one recipe for the static binary: static.toml. rust-toolchain.toml would fetch a toolchain
# that this image already is.
RUN rm rust-toolchain.toml \
    && target="$(uname -m)-unknown-linux-gnu" \
    && cargo build --release --locked --config static.toml --target "$target" \
    && install -D -m 0755 "target/$target/release/segura-agent" /image/segura-agent \
    && install -D -m 0644 LICENSE THIRD-PARTY-LICENSES.txt -t /image/licenses

FROM scratch
LABEL org.opencontainers.image.title="segura-agent" \
      org.opencontainers.image.description="Secrets agent for Segura (senhasegura) DevOps Secret Manager" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/segura-agent"]
