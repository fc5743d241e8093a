"""Where an endpoint is and which key it takes: checked before anything is sent, as a wrong key may end up in an error.

No key is ever part of a message: what names it is the environment variable.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from srlm.errors import InputError

if TYPE_CHECKING:
    from srlm.config import EndpointSection

# What is sent where no key is needed: the client wants one, and a server that was started without one passes it over.
NO_KEY = "none"


def address(endpoint: EndpointSection) -> str:
    """Return the server's address as messages show it: without a user's name, a password or a query.

    Raises:
        InputError: `endpoint.base_url` is no address of a server.
    """
    parts = _parts(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def api_key(endpoint: EndpointSection) -> str:
    """Return the key in the environment variable, or a placeholder where there is none and this machine is the server.

    Raises:
        InputError: the variable is not set, or holds what cannot be a key; or `endpoint.base_url` is no address.
    """
    host = _parts(endpoint).hostname or ""
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key and _is_loopback(host):
        return NO_KEY
    if not key:
        raise InputError(
            f"{address(endpoint)} needs a key: put it into the environment variable {endpoint.api_key_env}, or name "
            "another one in endpoint.api_key_env"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(
            f"the environment variable {endpoint.api_key_env} holds no key: there are blanks or characters outside "
            "ASCII in it; copy the key again"
        )
    return key


def _parts(endpoint: EndpointSection) -> SplitResult:
    try:
        parts = urlsplit(endpoint.base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an IPv6 address without its end
        usable = False
    if not usable:
        raise InputError(
            "endpoint.base_url: not the address of a server; give one such as https://api.openai.com/v1 or "
            "http://localhost:8000/v1"
        )
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
