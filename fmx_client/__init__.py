"""A client of fmx servers: `Client`, `AsyncClient`, and the command `fmx`.

from fmx_client import Client

with Client("http://127.0.0.1:8000") as client:
    job = client.submit("q1", preset="quick")
    job = client.wait(job.id, check=True)
    print(client.results(job.id).comparisons)
    print(client.predict(job.models[0], files=["shirt.png"]).predictions)
"""

from fmx_client.async_client import AsyncClient
from fmx_client.client import Client
from fmx_client.errors import FmxClientError

__all__ = ["AsyncClient", "Client", "FmxClientError"]
