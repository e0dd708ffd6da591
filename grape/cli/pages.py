"""Reads lists that a grape gives in pages.

Under 60 lines: it is one loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

import attrs

from grape.client.blocking import Link

PAGE = 1_000
MORE = "grape: {shown} of {total}; --limit shows more"


@attrs.frozen
class Listed:
    """The first entries of a list, as the grape's JSON has them, and how many there are."""

    entries: list[dict[str, Any]]
    total: int


def pages(link: Link, name: str, limit: int, parameters: Mapping[str, str] | None = None) -> Listed:
    """Returns at most ``limit`` entries of the list at ``/name``. Raises GrapeError."""
    entries: list[dict[str, Any]] = []
    after = None
    while True:
        query = {**(parameters or {}), "limit": str(min(PAGE, limit - len(entries)))}
        if after is not None:
            query["after"] = after
        page = cast("dict[str, Any]", link.read(f"/{name}?{urlencode(query)}"))
        entries.extend(page[name])
        after = page["next"]
        if after is None or len(entries) >= limit:
            return Listed(entries, page["total"])
