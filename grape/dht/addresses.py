"""Which addresses may be contacts: two profiles, for private rings and for the open internet.

A private ring shares hosts and networks: only what cannot be an address at all is refused. In public a node could
fill a table from one machine, or send others after addresses that are not out there: one contact for each address,
one for each /24 network in a bucket, and loopback and private addresses only by word of somebody as near.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Protocol


class AddressRules(Protocol):
    """A profile's rules; hosts are dotted IPv4 addresses."""

    is_public: bool

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        """Whether a host may be asked, on the word of another one or (None) because it asked us."""

    def has_room(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        """Whether a host may be listed beside those in the table and in its bucket."""


class PrivateRules:
    """For rings of one's own."""

    is_public = False

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        return scope(host) != "nowhere"

    def has_room(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        return True


class PublicRules:
    """For the open internet, after libtorrent's."""

    is_public = True

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        where = scope(host)
        return where == "global" or (where != "nowhere" and (told_by is None or scope(told_by) == where))

    def has_room(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        network = host.rpartition(".")[0]
        return host not in in_table and all(other.rpartition(".")[0] != network for other in in_bucket)


@lru_cache(maxsize=8_192)
def scope(host: str) -> str:
    """How far an address reaches: "nowhere" (0/8, multicast, reserved), "loopback", "private" or "global"."""
    address = IPv4Address(host)
    if address.is_multicast or address.is_reserved or host.startswith("0."):
        return "nowhere"
    if address.is_loopback:
        return "loopback"
    return "private" if address.is_private or address.is_link_local else "global"
