"""Makes the HTTP clients of the two links on httpx, which is loaded here, at the first link.

It takes longer to load than all else of the client.

Under 60 lines: all that is the same for both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grape.client.requests import IDLE_CONNECTIONS, IDLE_SECONDS

if TYPE_CHECKING:
    import httpx

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")

MISSING = "the clients for asyncio and for threads need httpx: pip install 'grape-dht[client]'"


def new_client(urls: Sequence[str]) -> httpx.Client:
    """Returns a client for the grapes at ``urls``, for several threads. Raises ImportError if httpx is missing."""
    try:
        import httpx
    except ImportError as error:
        raise ImportError(MISSING) from error
    # No proxy and no .netrc: a grape is on this host or in a private network, as for the other Grenache clients.
    return httpx.Client(trust_env=False, verify=_is_tls(urls), limits=_limits())


def new_async_client(urls: Sequence[str]) -> httpx.AsyncClient:
    """Returns a client for the grapes at ``urls``, for asyncio. Raises ImportError if httpx is missing."""
    try:
        import httpx
    except ImportError as error:
        raise ImportError(MISSING) from error
    return httpx.AsyncClient(trust_env=False, verify=_is_tls(urls), limits=_limits())


def failure_text(error: Exception) -> str:
    """Returns what a user is told of an attempt that had no answer, without the system's number for it."""
    return _ERRNO.sub("", str(error)) or type(error).__name__


def _is_tls(urls: Sequence[str]) -> bool:
    # Without TLS there is nothing to verify, and the certificates need not be read. Redirects are not followed.
    return any(url.startswith("https:") for url in urls)


def _limits() -> httpx.Limits:
    import httpx

    # The calls under way are limited by the program that makes them.
    return httpx.Limits(max_connections=None, max_keepalive_connections=IDLE_CONNECTIONS, keepalive_expiry=IDLE_SECONDS)
