"""Decides which addresses may be contacts, by one of two profiles: private rings or the public internet.

A loopback address means another node on each host: in both profiles it is used only if a node at a loopback address
names it, and told only to such nodes (``dht.responder``); so are peers (``dht.compact``).

The nodes of a private ring share hosts and networks: beside these, only addresses that no node can have are refused. On
the public internet a single machine could fill a routing table, or name addresses that are private elsewhere. There a
table lists one contact of an address and a bucket one of a /24 network; loopback and private addresses are used only
if a node of the same kind of address names them, or if they query us themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Protocol


class AddressRules(Protocol):
    """Answers what a profile allows; hosts are dotted IPv4 addresses. ``is_public`` is true for the public profile."""

    is_public: bool

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        """Returns True if ``host`` may be queried; ``told_by`` named it, or None: the host queried us."""

    def may_list(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        """Returns True if ``host`` may be listed beside the hosts in the table and in its bucket."""


class PrivateRules:
    """Allows every address that a node can have, loopback named by loopback alone: the profile of private rings."""

    is_public = False

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        if told_by is not None and is_loopback(host) and not is_loopback(told_by):
            return False
        return scope(host) != "unusable"

    def may_list(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        return True


class PublicRules:
    """Limits contacts by address, network and scope: the profile of the public internet, like libtorrent's rules."""

    is_public = True

    def is_usable(self, host: str, told_by: str | None = None) -> bool:
        where = scope(host)
        return where == "global" or (where != "unusable" and (told_by is None or scope(told_by) == where))

    def may_list(self, host: str, in_table: Iterable[str], in_bucket: Iterable[str]) -> bool:
        network = host.rpartition(".")[0]
        return host not in in_table and all(other.rpartition(".")[0] != network for other in in_bucket)


def is_loopback(host: str) -> bool:
    """Returns True for the addresses 127.0.0.0/8; ``host`` is a dotted IPv4 address."""
    return host.startswith("127.")


@lru_cache(maxsize=8_192)
def scope(host: str) -> str:
    """Returns how far an address reaches: "unusable" (0/8, multicast, reserved), "loopback", "private" or "global"."""
    address = IPv4Address(host)
    if address.is_multicast or address.is_reserved or host.startswith("0."):
        return "unusable"
    if address.is_loopback:
        return "loopback"
    return "private" if address.is_private or address.is_link_local else "global"
