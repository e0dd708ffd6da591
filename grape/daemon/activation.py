"""Fits a configuration to the sockets that systemd handed over: what they are bound to counts, not the flags.

Under 60 lines: it is one rule, and loaded only where sockets were handed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from socket import socket

import attrs
from twisted.logger import Logger

from grape.config import Config
from grape.systemd import API, DHT

ALL_IPV4 = "0.0.0.0"

log = Logger(namespace="grape.daemon")


def with_sockets(config: Config, sockets: Mapping[str, socket]) -> Config:
    """Returns the config with the ports and addresses that ``sockets`` (by DHT and API) are bound to.

    Logs what counts instead of a port or an address that the config has.
    """
    if DHT in sockets:
        host, port = sockets[DHT].getsockname()[:2]
        if port != config.dht_port or host != (config.dht_host or ALL_IPV4):
            _say("UDP", host, port, "--dp and -b")
            config = attrs.evolve(config, dht_port=port, dht_bind=host)
    if API in sockets:
        host, port = sockets[API].getsockname()[:2]
        if port != config.api_port or host != config.api_host:
            _say("TCP", host, port, "--aph and -b")
            config = attrs.evolve(config, api_port=port, api_bind=host)
    return config


def _say(kind: str, host: str, port: int, flags: str) -> None:
    log.info("{kind} socket from systemd: it is bound to {host} port {port}, whatever {flags} say",
             kind=kind, host=host, port=port, flags=flags)  # fmt: skip
