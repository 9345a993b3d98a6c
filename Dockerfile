# One image for all containers of the lab on Kubernetes: applications, proxies, agents, load engines, instruments.
# Everything is compiled here and nothing is downloaded when it runs. README.md says how to bring it into kind.
#
#   docker build -t mesh-datapath-lab:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# A pod's specification says as whom each process runs; by default it is an unprivileged user.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# Mirrors, where the build machine does not reach the public ones: http://HOST/debian (with /debian-security beside
# it) and https://HOST/simple
ARG APT_MIRROR=
ARG PIP_INDEX_URL=
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="Mesh Datapath Lab" \
      org.opencontainers.image.description="Measures service-mesh datapaths against each other" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}"

# The list is that of lab/packages.py but for browsers (a test compares them), and below it what a slim base lacks.
RUN set -eu; \
    if [ -n "${APT_MIRROR}" ]; then \
        sed -i "s|^URIs: [a-z]*://[^/]*/debian|URIs: ${APT_MIRROR}|" /etc/apt/sources.list.d/*.sources; \
    fi; \
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; \
    apt-get update -q; \
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        clang \
        libbpf-dev \
        libc6-dev \
        nginx \
        libnginx-mod-http-lua \
        nftables \
        util-linux \
        python3-bpfcc \
        linux-headers-amd64 \
        nghttp2-client \
        wrk \
        haproxy \
        openssl \
        libclang-rt-dev \
        ca-certificates iproute2 mount procps python3 python3-venv; \
    rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mesh-datapath-lab
ENV PATH=/opt/mesh-datapath-lab/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/mesh-datapath-lab \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8

COPY requirements.lock ./
RUN set -eu; \
    python3 -m venv .venv; \
    if [ -n "${PIP_INDEX_URL}" ]; then export PIP_INDEX_URL; else unset PIP_INDEX_URL; fi; \
    .venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock; \
    cp requirements.lock .venv/installed.lock

COPY . .
# The eBPF objects, the load engine and the spinner, where every user of the image can read them.
RUN set -eu; \
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
    .venv/bin/python -m datapaths.bpf.objects; \
    .venv/bin/python -c "from lab import compile; from lab.load import engine; from lab.meter import awake; \
        [compile.shared(module.SOURCE) for module in (engine, awake)]"; \
    PYTHONDONTWRITEBYTECODE="" .venv/bin/python -m compileall -q lab datapaths scenarios; \
    chmod -R go+rX .; \
    useradd --uid 65532 --user-group --no-create-home --shell /usr/sbin/nologin lab

USER 65532:65532
CMD ["mesh-lab", "--help"]
