"""What both clients are set up with: address, key, httpx's options, the methods' names."""

import inspect
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, TypedDict

import httpx

from fmx_client.errors import AddressError, ApiKeyError

DEFAULT_PORT = "8000"


class HttpOptions(TypedDict):
    """What httpx's clients take."""

    base_url: str
    headers: dict[str, str]
    trust_env: bool


def find_url(base_url: str | None = None) -> str:
    """The server's address: what was given, FMX_URL, or this machine at FMX_PORT (8000).

    Raises AddressError.
    """
    port = os.environ.get("FMX_PORT") or DEFAULT_PORT
    url = base_url or os.environ.get("FMX_URL") or f"http://127.0.0.1:{port}"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise AddressError(url) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AddressError(url)
    return url.rstrip("/")


def find_key(api_key: str | None = None) -> str | None:
    """The key that was given, or FMX_API_KEY; None where there is neither. Raises ApiKeyError."""
    key = api_key or os.environ.get("FMX_API_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ApiKeyError
    return key


def http_options(
    base_url: str, api_key: str | None, headers: Mapping[str, str] | None
) -> HttpOptions:
    """Options of both httpx clients. A proxy of the environment is not asked for this machine.

    The key is a header that httpx takes off again where a redirect leads to another origin.
    """
    key = find_key(api_key)
    authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
    return {
        "base_url": base_url,
        "headers": {"User-Agent": f"fmx/{version('fmx')}", **authorization, **(headers or {})},
        "trust_env": not _is_loopback(httpx.URL(base_url).host),
    }


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def describe(method: Callable[..., Any], flow: Callable[..., Any]) -> None:
    """Gives a method the name, text and parameters of the flow it drives."""
    signature = inspect.signature(flow)
    _, *parameters = signature.parameters.values()
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    described: Any = method
    described.__name__ = described.__qualname__ = flow.__name__
    described.__doc__ = flow.__doc__
    described.__signature__ = signature.replace(
        parameters=[first, *parameters], return_annotation=inspect.Signature.empty
    )
