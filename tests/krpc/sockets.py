"""Real sockets on loopback for the tests of ``grape.krpc``: a protocol that records, ports that close, and clients."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred

from grape.dht.compact import Address
from grape.krpc.port import AnsweringProtocol, Port, WildcardPort
from grape.krpc.udp import listen

reactor: Any = global_reactor
HOST = "127.0.0.1"


class Echo(AnsweringProtocol):
    """Records what it is told, and sends every datagram back from the address that it was sent to."""

    noisy = False

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self.refused: list[tuple[Address, bytes]] = []
        # Fires at the next refusal.
        self.when_refused: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.heard.append((datagram, addr))
        assert self.reply_by is not None
        self.reply_by(datagram, addr)

    def unreachable(self, address: Address, transaction_id: bytes) -> None:
        self.refused.append((address, transaction_id))
        if not self.when_refused.called:
            self.when_refused.callback(None)


@asynccontextmanager
async def opened(protocol: AnsweringProtocol, host: str = "", number: int = 0) -> AsyncIterator[Port]:
    """Opens a port, and closes it at the end."""
    port = listen(reactor, number, protocol, host)
    assert isinstance(port, Port)
    try:
        yield port
    finally:
        await maybeDeferred(port.stopListening)


def all_of(port: Port) -> list[Port]:
    """Returns a port and those beside it."""
    return [port, *(port.beside if isinstance(port, WildcardPort) else [])]


def read(port: Port) -> None:
    """Has a port and those beside it read what is there."""
    for one in all_of(port):
        one.doRead()


@contextmanager
def client(host: str = HOST) -> Iterator[socket.socket]:
    """Makes a socket bound to an address of this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(2)
        made.bind((host, 0))
        yield made


def closed_port() -> Address:
    """Returns an address on which nothing listens."""
    with client() as made:
        address: Address = made.getsockname()
    return address


def bind(address: Address, *, reuse: bool = False) -> None:
    """Binds a socket to an address, and closes it. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        made.bind(address)
