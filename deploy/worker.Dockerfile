# The worker: torch and all that trains. The registry's torch runs on CPU and NVIDIA GPUs alike.
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
    && mkdir -p /data /artifacts && chown fmx /data /artifacts
USER fmx
ENV FMX_DATA_DIR=/data FMX_STORAGE_URL=file:///artifacts
VOLUME ["/data", "/artifacts"]
CMD ["python", "-m", "worker"]
