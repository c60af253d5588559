# One image for every process: the command is `serve`, `worker` or `migrate`.

FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/portico
COPY requirements/runtime.txt /source/requirements/
RUN /opt/portico/bin/pip install --no-cache-dir --no-deps --require-hashes \
    --requirement /source/requirements/runtime.txt
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
COPY generated /source/generated
COPY migrations /source/migrations
COPY topologies /source/topologies
RUN /opt/portico/bin/pip install --no-cache-dir --no-deps --no-build-isolation /source

FROM python:3.11-slim-bookworm
COPY --from=build /opt/portico /opt/portico
# By number: a cluster can tell from it that this is not root.
RUN useradd --create-home --uid 10001 portico
USER 10001
WORKDIR /home/portico
ENV PATH=/opt/portico/bin:$PATH \
    PORTICO_APP=emporium.app:application
EXPOSE 50051 8080
ENTRYPOINT ["portico"]
CMD ["serve"]
