"""A node's id: what is drawn at the first start, and whether one from before may be used again."""

from __future__ import annotations

from grape.config import Config
from grape.dht.addresses import scope
from grape.dht.bep42 import is_secure, secure_id
from grape.dht.nodeid import ID_BYTES, RandomBytes


def new_id(config: Config, random_bytes: RandomBytes) -> bytes:
    """A random id; in public one that fits the address we listen on, if that is known (BEP 42)."""
    host = _public_host(config)
    return random_bytes(ID_BYTES) if host is None else secure_id(host, random_bytes)


def fits(config: Config, node_id: bytes) -> bool:
    """Whether an id from before a restart may be used at the address of now."""
    host = _public_host(config)
    return host is None or is_secure(node_id, host)


def _public_host(config: Config) -> str | None:
    host = config.announced_host
    return host if config.profile == "public" and host is not None and scope(host) == "global" else None
