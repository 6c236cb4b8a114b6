# The worker: torch and all that trains. The registry's torch runs on CPU and NVIDIA GPUs alike.
# g++ compiles the CPU kernel when it is first needed.
FROM python:3.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends dataset-fashion-mnist g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY fmx_client fmx_client
COPY fmx_ml fmx_ml
COPY fmx_store fmx_store
COPY migrations migrations
COPY worker worker
RUN pip install --constraint constraints.txt ".[worker]" \
    && useradd --system --uid 10001 --home-dir /data fmx \
    && mkdir -p /data && chown fmx /data
USER 10001
# The root may be read-only: everything that is written goes to /data and /tmp. What runs is the
# installed package, compiled already, never a file that lies in the working folder.
# No health check: a worker that hangs loses its runs to others, one that dies is started again,
# and an outage of the database, which it outlasts, must not end its trainings.
WORKDIR /data
# The driver of PostgreSQL brings an OpenSSL of its own, which looks for certificates elsewhere.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV PYTHONSAFEPATH=1 HOME=/data FMX_DATA_DIR=/data FMX_DATASET_DOWNLOAD=false
VOLUME ["/data"]
CMD ["python", "-m", "worker"]
