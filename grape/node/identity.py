"""Draws a node's id and decides whether the id of an earlier run may be used again (BEP 42).

Under 60 lines: what an id depends on, its configuration, is read here and nowhere else.
"""

from __future__ import annotations

from grape.config import Config
from grape.dht.addresses import scope
from grape.dht.bep42 import is_secure, secure_id
from grape.dht.nodeid import ID_BYTES, RandomBytes


def new_id(config: Config, random_bytes: RandomBytes) -> bytes:
    """Draws a random id; in the public profile one that fits the address we listen on, if that is known (BEP 42)."""
    host = _public_host(config)
    return random_bytes(ID_BYTES) if host is None else secure_id(host, random_bytes)


def fits(config: Config, node_id: bytes) -> bool:
    """Returns True if the id of an earlier run may be used at the address we listen on now."""
    host = _public_host(config)
    return host is None or is_secure(node_id, host)


def _public_host(config: Config) -> str | None:
    host = config.announced_host
    return host if config.profile == "public" and host is not None and scope(host) == "global" else None
