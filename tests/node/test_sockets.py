"""grape.node.node on real sockets: grapes that are asked at other addresses, and grapes under ICMP errors."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from grape import Grape
from grape.dht.messages import encode_frame
from grape.krpc.port import IS_LINUX, Port
from tests.krpc.sockets import closed_port

reactor: Any = global_reactor
on_linux = pytest.mark.skipif(not IS_LINUX, reason="Linux only")


@asynccontextmanager
async def running(**keywords: Any) -> AsyncIterator[Grape]:
    """Starts a grape on a free port of all addresses, waits until it has joined, and stops it at the end."""
    grape = Grape(reactor=reactor, dht_port=0, **keywords)
    grape.startService()
    try:
        await grape.when_ready()
        yield grape
    finally:
        await grape.stopService()


@on_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1.2.3"])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_read_only_grape_joins_through_every_address_of_another(host: str) -> None:
    async with (
        running() as first,
        running(dht_bootstrap=[(host, first.dht_port)], read_only=True) as second,
    ):
        assert await second.announce("rest:util:net", 1_337) == 1
        assert await first.lookup("rest:util:net") == ["127.0.0.1:1337"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_grape_is_not_started_on_a_port_that_is_taken() -> None:
    async with running() as first:
        with pytest.raises(CannotListenError) as caught:
            Grape(reactor=reactor, dht_port=first.dht_port).startService()
        assert caught.value.socketError.errno == errno.EADDRINUSE


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_grape_starts_again_on_its_port_at_once() -> None:
    async with running() as grape:
        number = grape.dht_port
        await grape.stopService()
        again = Grape(reactor=reactor, dht_port=number)
        again.startService()
        assert again.dht_address == ("0.0.0.0", number)
        await again.stopService()


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_flood_of_icmp_errors_costs_no_lookup_and_closes_no_socket() -> None:
    frame = encode_frame(b"ping", {b"id": b"x" * 20})
    there = closed_port()
    sent = 0

    async with running() as first, running(dht_bootstrap=[("127.0.0.1", first.dht_port)]) as second:
        ports = [reader for reader in reactor.getReaders() if isinstance(reader, Port)]
        assert len(ports) >= 4

        def flood() -> None:
            nonlocal sent
            for port in ports:
                for _ in range(20):
                    with suppress(ConnectionRefusedError):
                        port.socket.sendto(frame[0] + sent.to_bytes(4, "big")[2:] + frame[1], there)
                    sent += 1

        flooding = LoopingCall(flood)
        flooded = flooding.start(0.001)
        try:
            for number in range(100):
                name = f"service {number}"
                assert await first.announce(name, 1_337) == 1
                assert await second.lookup(name) == ["127.0.0.1:1337"]
                await next_turn()
        finally:
            flooding.stop()
        await flooded
        assert sent > 2_000
        for grape in (first, second):
            counters = grape.stats().counters
            assert (counters["send_errors"], counters["timed_out"], counters["faults"]) == (0, 0, 0)
        assert all(port.connected and port in reactor.getReaders() for port in ports)
        assert {port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for port in ports} <= {0, errno.ECONNREFUSED}


def next_turn() -> Deferred[None]:
    """Fires after the reactor has called what is due."""
    passed: Deferred[None] = Deferred()
    reactor.callLater(0.001, passed.callback, None)
    return passed
