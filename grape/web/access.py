"""Who may call the HTTP API: not a web page that happens to run in a browser on this machine.

A browser sends ``Origin`` with every POST, a Grenache client never does; a page behind a rebound name sends that name
as ``Host``. So foreign origins are refused, and on loopback connections foreign hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address

from grape.web.answer import TEXT_TYPE, Answer

PREFLIGHT_SECONDS = 600

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::\d{1,5})?")

Headers = Mapping[bytes, bytes]


class Access:
    """The rules. ``allow_origins``: origins of pages that may call, "https://app.example"; ``allow_hosts``: names
    that this machine is called by, without a port; ``own_name``: its host name."""

    def __init__(self, allow_origins: Iterable[str] = (), allow_hosts: Iterable[str] = (), own_name: str = "") -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allow_origins)
        self._hosts = frozenset(host.lower() for host in allow_hosts)
        self._own_name = own_name.lower()

    def refusal(self, method: bytes, headers: Headers, local_host: str) -> Answer | None:
        """The answer to a request that may not be served, None to one that may.

        ``headers`` has lower-case names; ``local_host`` is the address of this machine that the connection came to.
        """
        host = headers.get(b"host")
        name = _host_name(host) if host is not None else None
        if host is not None and not self._is_permitted(name, method, is_loopback(local_host)):
            return _refused("ERR_GRAPE_HOST", f"add --allow-host {_shown(host)}")
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site"):
                return _refused("ERR_GRAPE_ORIGIN", "a page of another site called")
            return None
        text = origin.decode("latin-1").lower()
        own = host is not None and name is not None and text == f"http://{host.decode('latin-1').lower()}"
        if text in self._origins or (own and (self._is_own(name) or _is_address(name))):
            return None
        return _refused("ERR_GRAPE_ORIGIN", f"add --allow-origin {_shown(origin)}")

    def cors(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers that let the browser of an allowed origin read the answer; none for anybody else."""
        origin = headers.get(b"origin", b"")
        if not self._origins or origin.decode("latin-1").lower() not in self._origins:
            return []
        return [(b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")]

    def preflight(self, method: bytes, headers: Headers) -> list[tuple[bytes, bytes]] | None:
        """The headers that answer a browser's question before a call, None if this is no such question."""
        cors = self.cors(headers)
        if method != b"OPTIONS" or not cors or b"access-control-request-method" not in headers:
            return None
        # Chromium asks before a public page may call a private address: an allowed origin may.
        private = headers.get(b"access-control-request-private-network", b"").lower() == b"true"
        return [
            *cors,
            *([(b"Access-Control-Allow-Private-Network", b"true")] if private else []),
            (b"Access-Control-Allow-Methods", b"POST"),
            (b"Access-Control-Allow-Headers", b"content-type"),
            (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS),
        ]

    def _is_own(self, name: str | None) -> bool:
        return name in self._hosts or name in ("localhost", "0.0.0.0", self._own_name)

    def _is_permitted(self, name: str | None, method: bytes, loopback: bool) -> bool:
        if name is None:
            return False
        if self._is_own(name):
            return True
        if loopback:
            return is_loopback(name)
        # A page on another machine may call by any name; what a browser reads by GET must be under a name of ours.
        return method not in (b"GET", b"HEAD") or _is_address(name)


@lru_cache(maxsize=1_024)
def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@lru_cache(maxsize=1_024)
def _host_name(host: bytes) -> str | None:
    """The name of a Host header, without its port and brackets; None if it is malformed."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    return match["name"].strip("[]") if match else None


def _is_address(name: str | None) -> bool:
    try:
        ip_address(name or "")
    except ValueError:
        return False
    return True


def _shown(value: bytes) -> str:
    return value[:100].decode("ascii", "replace")


def _refused(code: str, hint: str) -> Answer:
    return Answer(403, f"{code}: {hint}\n".encode(), TEXT_TYPE)
