# The server: HTTP, predictions, migrations, fmx admin. No torch.
FROM python:3.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY fmx_client fmx_client
COPY fmx_ml fmx_ml
COPY fmx_store fmx_store
COPY migrations migrations
COPY worker worker
RUN pip install --constraint constraints.txt ".[api]" \
    && useradd --system --uid 10001 --home-dir /data fmx \
    && mkdir -p /data && chown fmx /data
USER 10001
# The root may be read-only: everything that is written goes to /data and /tmp. What runs is the
# installed package, compiled already, never a file that lies in the working folder.
WORKDIR /data
# The driver of PostgreSQL brings an OpenSSL of its own, which looks for certificates elsewhere.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV PYTHONSAFEPATH=1 HOME=/data FMX_HOST=0.0.0.0 FMX_PORT=8000 FMX_DATA_DIR=/data
EXPOSE 8000
VOLUME ["/data"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "api"]
