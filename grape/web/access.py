"""Decides whose requests the HTTP API serves: not those of web pages in a browser that can reach the grape.

A browser sends ``Origin`` with every POST, a Grenache client never does. A page under a rebound name sends that name as
``Host``. So foreign origins are refused everywhere, and foreign host names on loopback connections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, TypeAlias

from grape.web.answer import PREFLIGHT, TEXT_TYPE, Answer, Headers
from grape.web.request import Fields

PREFLIGHT_SECONDS = 600

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::\d{1,5})?")

# From the name of a setting and a value to the words that tell an operator how to allow that value.
Advice: TypeAlias = Callable[[str, str], str]


def flag_advice(setting: str, value: str) -> str:
    """Returns what to add to the command line."""
    return f"add --{setting.replace('_', '-')} {value}"


def keyword_advice(setting: str, value: str) -> str:
    """Returns what to add to the call of ``Grape``."""
    return f"add {setting}={value!r} to Grape(...)"


class Access:
    """The rules against web pages.

    ``allow_origins`` are the origins of pages that may call ("https://app.example"), ``allow_hosts`` the names that
    this machine is called by, without a port, ``own_name`` is its host name. ``advice`` makes the words of a refusal
    that say how to allow what was refused.
    """

    def __init__(
        self,
        allow_origins: Iterable[str] = (),
        allow_hosts: Iterable[str] = (),
        own_name: str = "",
        advice: Advice = flag_advice,
    ) -> None:
        self.allow(allow_origins, allow_hosts)
        self._own_name = own_name.lower()
        self._advice = advice

    def allow(self, allow_origins: Iterable[str], allow_hosts: Iterable[str]) -> None:
        """Allows these origins and hosts from now on, and no others."""
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allow_origins)
        self._hosts = frozenset(host.lower() for host in allow_hosts)

    def judge(
        self, method: bytes, headers: Fields, local_host: str | None, *, may_be_linked: bool = False
    ) -> tuple[Answer | None, Headers]:
        """Returns the answer to a request that is not served further, else None, and the headers for its answer.

        ``headers`` has lower-case names. ``local_host`` is the address of this machine that the connection came to,
        None for a unix socket. A preflight of an allowed origin is answered here. What ``may_be_linked`` is served to
        a browser that follows a link of another site.
        """
        refusal = self.refusal(method, headers, local_host, may_be_linked=may_be_linked)
        if refusal is not None:
            return refusal, ()
        preflight = self.preflight(method, headers)
        return (PREFLIGHT, preflight) if preflight else (None, self.cors(headers))

    def refusal(
        self, method: bytes, headers: Fields, local_host: str | None, *, may_be_linked: bool = False
    ) -> Answer | None:
        """Returns the 403 for a request that may not be served, None for one that may."""
        host = headers.get(b"host")
        name = _host_name(host) if host is not None else None
        if host is not None and not self._is_permitted(name, method, is_loopback(local_host)):
            return _refused("ERR_GRAPE_HOST", self._advice("allow_host", name or _shown(host)))
        origin = headers.get(b"origin")
        if origin is None:
            is_foreign = headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site")
            if is_foreign and not (may_be_linked and _opens_a_tab(method, headers)):
                return _refused("ERR_GRAPE_ORIGIN", "a page of another site called")
            return None
        text = origin.decode("latin-1").lower()
        own = host is not None and name is not None and text == f"http://{host.decode('latin-1').lower()}"
        if text in self._origins or (own and (self._is_own(name) or _is_address(name))):
            return None
        return _refused("ERR_GRAPE_ORIGIN", self._advice("allow_origin", _shown(origin)))

    def cors(self, headers: Fields) -> Headers:
        """Returns the headers that let the browser of an allowed origin read the answer; none for any other."""
        origin = headers.get(b"origin", b"")
        if not self._origins or origin.decode("latin-1").lower() not in self._origins:
            return ()
        return (b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")

    def preflight(self, method: bytes, headers: Fields) -> Headers:
        """Returns the headers that answer the preflight of an allowed origin; none for any other request."""
        cors = self.cors(headers)
        if method != b"OPTIONS" or not cors or b"access-control-request-method" not in headers:
            return ()
        # Chromium asks before a public page may call a private address: an allowed origin may.
        private = headers.get(b"access-control-request-private-network", b"").lower() == b"true"
        return (
            *cors,
            *([(b"Access-Control-Allow-Private-Network", b"true")] if private else []),
            (b"Access-Control-Allow-Methods", b"POST"),
            (b"Access-Control-Allow-Headers", b"content-type"),
            (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS),
        )

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


#: As the ``access`` of a resource: the rules that the grape's settings make (``allow_origin``, ``allow_host``).
CONFIGURED_ACCESS: Final = Access()


@lru_cache(maxsize=1_024)
def is_loopback(host: str | None) -> bool:
    """Returns True for an address of the loopback network; False for any other, for a name and for None."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@lru_cache(maxsize=1_024)
def _host_name(host: bytes) -> str | None:
    """Returns the name in a Host header, without port and brackets; None if the header is malformed."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    return match["name"].strip("[]") if match else None


def _is_address(name: str | None) -> bool:
    try:
        ip_address(name or "")
    except ValueError:
        return False
    return True


def _opens_a_tab(method: bytes, headers: Fields) -> bool:
    """Returns True if a browser asks for what it shows in a tab of its own, which no other page can read."""
    navigates = headers.get(b"sec-fetch-mode", b"").lower() == b"navigate"
    return method in (b"GET", b"HEAD") and navigates and headers.get(b"sec-fetch-dest", b"").lower() == b"document"


def _shown(value: bytes) -> str:
    return value[:100].decode("ascii", "replace")


def _refused(code: str, reason: str) -> Answer:
    return Answer(403, f"{code}: {reason}\n".encode(), TEXT_TYPE)
