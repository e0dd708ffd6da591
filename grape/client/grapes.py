"""Chooses which grape is asked: the first of the list that works; one that failed is left alone for a while.

Pure: the time is an argument, in seconds on any steady clock, and randomness is handed in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import urlsplit

import attrs

# How long a grape is left alone after its first failure; twice as long after each further one.
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
# So that the clients of a grape do not come back to it all at once.
JITTER = 0.25

LOOPBACK = "localhost"


@attrs.define
class _Grape:
    """Counts the failures of one grape in a row; ``until`` is the time up to which it is left alone."""

    failures: int = 0
    until: float = 0.0


class Grapes:
    """Keeps the grapes of a link, in the order of preference, by their URLs without a slash at the end.

    ``own`` are the URLs of those that announces go through: a grape lists a service under its own address, so these
    are the grapes on the host of the first one, unless they are named. Raises ValueError for what is no URL, or for an
    empty list.
    """

    def __init__(self, urls: str | Iterable[str], dice: random.Random, own: Iterable[str] | None = None) -> None:
        self.urls = _urls(urls)
        if not self.urls:
            raise ValueError("a link needs the URL of a grape")
        here = _host(self.urls[0])
        self.own = [url for url in self.urls if _host(url) == here] if own is None else _urls(own)
        if not self.own:
            raise ValueError("announce_through needs the URL of a grape")
        self._dice = dice
        self._grapes = {url: _Grape() for url in [*self.urls, *self.own]}

    @property
    def all(self) -> list[str]:
        """The URLs of all grapes, each once."""
        return list(self._grapes)

    def choose(self, now: float, is_own: bool, asked: Collection[str] = ()) -> str | None:
        """Returns the grape to ask next: the first that is not left alone, else the one whose time is over first.

        Those in ``asked`` are no choice; None if no grape is left.
        """
        left = [url for url in (self.own if is_own else self.urls) if url not in asked]
        return min(left, key=lambda url: max(self._grapes[url].until - now, 0.0), default=None)

    def succeeded(self, url: str) -> None:
        """Notes that a grape answered."""
        grape = self._grapes[url]
        grape.failures, grape.until = 0, 0.0

    def failed(self, url: str, now: float) -> None:
        """Notes that a grape did not answer, or not in time, and leaves it alone: 1 s, 2 s, 4 s, ... 60 s."""
        grape = self._grapes[url]
        # Calls under way fail together; they are one failure.
        if grape.until > now:
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(grape.failures, 16), MAX_PAUSE_SECONDS)
        grape.failures += 1
        grape.until = now + pause * self._dice.uniform(1 - JITTER, 1 + JITTER)


def _urls(urls: str | Iterable[str]) -> list[str]:
    each: Sequence[str] = [urls] if isinstance(urls, str) else list(urls)
    return list(dict.fromkeys(map(_url, each)))


def _url(url: str) -> str:
    stripped = url.rstrip("/")
    try:
        parts = urlsplit(stripped)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment:
        raise ValueError(f"a grape is named by a URL such as http://127.0.0.1:30001, not {url!r}")
    return stripped


def _host(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return LOOPBACK if host in {LOOPBACK, "::1"} or re.fullmatch(r"127\.[0-9.]+", host) else host
