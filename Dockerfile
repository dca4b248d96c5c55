# Issuer as a container image: a virtual environment is built in one stage and copied, alone, into the next.
#   docker build --tag issuer:0.1.0 .
# The base is pinned to a Python minor and a Debian release: a rebuild brings their security fixes and nothing else.
# A release pins it further, by digest: --build-arg BASE=python:3.13-slim-trixie@sha256:…
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The dependencies come first and alone: a change of our code leaves this layer as it is.
# Wheels only: a dependency without one fails here, instead of wanting a compiler. The environment needs no pip of its own.
COPY pyproject.toml ./
# The extra `otel` is in; nothing of it is imported until the environment (OTEL_…) asks for traces.
RUN python -m venv --without-pip /opt/issuer \
 && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['otel'], sep='\n')" \
    > requirements.txt \
 && pip --python /opt/issuer install --only-binary=:all: --requirement requirements.txt

# Our own wheel; the migrations travel inside it.
COPY README.md LICENSE ./
COPY migrations ./migrations
COPY issuer ./issuer
RUN pip wheel --no-deps --wheel-dir dist . \
 && pip --python /opt/issuer install --no-deps dist/*.whl \
 && pip --python /opt/issuer check


FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Issuer" \
      org.opencontainers.image.description="A standalone OAuth 2.0 authorization server for machines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Output is not held back in a buffer; the root file system may be read-only, and bytecode was compiled by the builder.
ENV PATH=/opt/issuer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1

# The one directory this user may write to: where `issuer bootstrap --out` leaves the first credential.
RUN groupadd --gid 10001 issuer \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/issuer --no-create-home --no-log-init \
    --shell /usr/sbin/nologin issuer \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/issuer

COPY --from=builder /opt/issuer /opt/issuer

# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /var/lib/issuer

# 8080: tokens, keys, discovery. 8081: administration; `serve` binds it to loopback unless told otherwise.
EXPOSE 8080 8081

# Is the process alive? Whether it can issue tokens is what /readyz says. http.client heeds no proxy variables.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-I", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8081, timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["issuer"]
CMD ["serve"]
