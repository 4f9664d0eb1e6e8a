# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
# A C compiler for SQLite and ring.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Dependencies stay in the caches between builds; the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/shopaloud /usr/local/bin/shopaloud

FROM debian:bookworm-slim
# Certificates for TLS to the database and the bucket; curl for the health check.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/shopaloud --create-home shopaloud
COPY --from=build /usr/local/bin/shopaloud /usr/local/bin/shopaloud
USER shopaloud
# Other machines reach it, so that it starts with keys only: `shopaloud keys new` in the volume, or SHOPALOUD_KEYS.
ENV HOST=0.0.0.0 PORT=4001 DATA_DIR=/var/lib/shopaloud
# What was acknowledged lives here until database and bucket have it: keep this volume.
VOLUME /var/lib/shopaloud
EXPOSE 4001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD curl -fsS "http://127.0.0.1:${PORT}/healthz" || exit 1
# Longer than server.shutdown_timeout_ms must pass before a stop becomes a kill: `docker stop --timeout 30`.
STOPSIGNAL SIGTERM
CMD ["shopaloud"]
