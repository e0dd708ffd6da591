"""grape.krpc.port on sockets that another program, such as systemd, bound and keeps; on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import maybeDeferred

from grape.krpc.icmp import IP_RECVERR
from grape.krpc.interfaces import LOOPBACK, primary_address
from grape.krpc.port import IS_LINUX, Port, WildcardPort
from grape.krpc.udp import listen
from tests.krpc.sockets import HOST, Echo, all_of, bind, client, reactor, read

on_linux = pytest.mark.skipif(not IS_LINUX, reason="Linux only")
ASKED = [host for host in dict.fromkeys((LOOPBACK, "127.0.0.2", primary_address())) if host is not None]


@pytest.fixture
def adopted(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A bound socket; on all addresses without a parameter."""
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.bind((getattr(request, "param", "0.0.0.0"), 0))
        opened.setblocking(False)
        yield opened


def number_of(adopted: socket.socket) -> int:
    number: int = adopted.getsockname()[1]
    return number


@pytest.mark.parametrize("adopted", [HOST], indirect=True)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_socket_on_one_address_is_used_alone_and_stays_open(adopted: socket.socket) -> None:
    with client() as asker:
        for number in range(2):
            port = listen(reactor, 1, Echo(), "10.0.0.1", adopted)
            assert type(port) is Port
            assert port.socket.getsockname() == adopted.getsockname()
            asker.sendto(b"%d" % number, adopted.getsockname())
            read(port)
            assert asker.recvfrom(9) == (b"%d" % number, adopted.getsockname())
            await maybeDeferred(port.stopListening)
        asker.sendto(b"waits", adopted.getsockname())
        assert adopted.recv(9) == b"waits"


@on_linux
@pytest.mark.parametrize("asked", ASKED)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_socket_on_all_addresses_answers_from_the_one_that_was_asked(adopted: socket.socket, asked: str) -> None:
    for _ in range(2):
        port = listen(reactor, 1, Echo(), "10.0.0.1", adopted)
        assert isinstance(port, WildcardPort)
        assert [one.socket.getsockname() for one in port.beside] == [
            (host, number_of(adopted)) for host in ASKED if host != "127.0.0.2"
        ]
        for one in all_of(port):
            assert one.socket.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 1
            assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        with client() as asker:
            asker.sendto(b"x", (asked, number_of(adopted)))
            read(port)
            assert asker.recvfrom(9) == (b"x", (asked, number_of(adopted)))
        await maybeDeferred(port.stopListening)
        # Nobody else takes its place meanwhile.
        with pytest.raises(OSError, match="in use"):
            bind((asked, number_of(adopted)), reuse=True)


@on_linux
@pytest.mark.parametrize("asked", ASKED)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_datagrams_at_the_end_are_answered_or_wait_for_the_next_process(
    adopted: socket.socket, asked: str
) -> None:
    echo = Echo()
    port = listen(reactor, 1, echo, "", adopted)
    count = 200
    with client() as asker:
        for number in range(count):
            asker.sendto(b"%03d" % number, (asked, number_of(adopted)))
        closed = maybeDeferred(port.stopListening)
        # The sockets are open until the reactor's next turn.
        for number in range(count, 2 * count):
            asker.sendto(b"%03d" % number, (asked, number_of(adopted)))
        await closed
        waiting = 2 * count - len(echo.heard)
        received = [datagram for datagram, _ in echo.heard] + [adopted.recv(9) for _ in range(waiting)]
        assert received == [b"%03d" % number for number in range(2 * count)]
        assert len(echo.heard) == (0 if asked == "127.0.0.2" else count)
        for datagram, _ in echo.heard:
            assert asker.recvfrom(9) == (datagram, (asked, number_of(adopted)))
