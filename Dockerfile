# One image for every role: the arguments of `docker run` are those of `execstream`.
#
#   docker build --tag execstream .
#   docker run --env-file FILE execstream worker --role apply
#
# FILE has variables of docs/settings.md; the .env of docker-compose.yml is none such. Packages come
# from pip's usual index. Where another is meant, or a proxy, name it:
#   docker build --build-arg PIP_INDEX_URL --build-arg HTTPS_PROXY ...

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
WORKDIR /build
COPY ops/image ops/image
RUN python -m venv --without-pip /opt/execstream \
 && pip install --no-cache-dir --disable-pip-version-check --require-hashes -r ops/image/build.txt \
 && pip --python /opt/execstream install --no-cache-dir --disable-pip-version-check \
      --only-binary :all: --require-hashes -r ops/image/requirements.txt
COPY . .
RUN python -m hatchling build -t wheel -d /tmp/wheel \
 && pip --python /opt/execstream install --no-cache-dir --disable-pip-version-check \
      --no-deps /tmp/wheel/*.whl

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent execstream
COPY --from=build /opt/execstream /opt/execstream
COPY ops/image/healthcheck.py /usr/local/bin/healthcheck
ENV PATH=/opt/execstream/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["execstream"]
CMD ["--help"]
