"""Base URL and API key of an endpoint, validated before a request is sent, as a malformed key may show up in an error.

No message contains the key, only the name of its environment variable.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from srlm.errors import InputError

if TYPE_CHECKING:
    from srlm.config import EndpointSection

# Sent where no API key is needed: the client requires one, and a server that was started without one ignores it.
NO_KEY = "none"


def address(endpoint: EndpointSection) -> str:
    """Return the base URL as messages show it: without user name, password and query.

    Raises:
        InputError: `endpoint.base_url` is not an HTTP URL.
    """
    parts = _parts(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def api_key(endpoint: EndpointSection) -> str:
    """Return the key in the environment variable, or a placeholder if it is not set and the server is this machine.

    Raises:
        InputError: the variable is not set or cannot be a key, or `endpoint.base_url` is not an HTTP URL.
    """
    host = _parts(endpoint).hostname or ""
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key and _is_loopback(host):
        return NO_KEY
    if not key:
        raise InputError(
            f"{address(endpoint)} needs an API key; set the environment variable {endpoint.api_key_env}, or name "
            "another variable in endpoint.api_key_env"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(
            f"the environment variable {endpoint.api_key_env} is not a valid API key: it contains spaces or non-ASCII "
            "characters; copy the key again"
        )
    return key


def _parts(endpoint: EndpointSection) -> SplitResult:
    try:
        parts = urlsplit(endpoint.base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, an unclosed IPv6 address
        usable = False
    if not usable:
        raise InputError(
            "endpoint.base_url is not an HTTP URL; use one such as https://api.openai.com/v1 or "
            "http://localhost:8000/v1"
        )
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name
        return False
