# SPDX-License-Identifier: Apache-2.0
# The server as a container image: docs/deployment/image.md. Built by `make image`.
#
# To renew the base: take the digest of the index, which is for all platforms, from
#   docker buildx imagetools inspect python:3.13-slim-bookworm
# Another base needs python3 >= 3.10 with venv, at the same path in both stages.
ARG BASE_IMAGE=python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8

FROM ${BASE_IMAGE} AS build
# A mirror of PyPI, where it is not reachable. The hashes hold for a mirror too.
ARG PIP_INDEX_URL=https://pypi.org/simple
ENV PIP_INDEX_URL=${PIP_INDEX_URL} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip stays in a virtual environment of its own, which the image does not get.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/wsgi-ws

COPY requirements.lock ./
RUN tools/bin/pip --python /opt/wsgi-ws/bin/python3 install --no-compile --require-hashes \
      -r requirements.lock

COPY deploy/image/requirements-build.lock ./
RUN tools/bin/pip install --require-hashes -r requirements-build.lock

COPY LICENSE hatch_build.py pyproject.toml requirements.txt ./
COPY docs/deployment/package.md docs/deployment/
COPY wsgi_ws wsgi_ws
# Bytecode that says itself that it fits: a file's time may change on its way into an image, and with
# a read-only root each start would compile everything again.
RUN tools/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
 && tools/bin/pip --python /opt/wsgi-ws/bin/python3 install --no-compile --no-index --no-deps \
      wheels/*.whl \
 && /opt/wsgi-ws/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/wsgi-ws/lib

FROM ${BASE_IMAGE}
ENV PATH=/opt/wsgi-ws/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/wsgi-ws /opt/wsgi-ws
COPY --chmod=0755 deploy/image/run-websocket.sh /app/docker/entrypoints/
# The official base has pip, which nobody needs here, and no bytecode of the standard library: these
# imports write that of the modules which the server uses.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
           /usr/local/lib/python3*/ensurepip \
 && python3 -c 'import wsgi_ws.server.entry.wsgi, wsgi_ws.server.worker, wsgi_ws.cli.main'

WORKDIR /home/superset-websocket
# Group 0 and no entry in /etc/passwd, as OpenShift has it: any other user works too.
USER 1000:0
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["wsgi-ws", "health"]
# gunicorn's master takes this process over: it gets the signals, and reaps as process 1.
CMD ["wsgi-ws", "serve"]

# Last, since they change with each build.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="wsgi-ws" \
      org.opencontainers.image.description="WebSocket server for Apache Superset" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
