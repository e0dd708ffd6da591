"""grape.krpc.udp: reading a UDP socket, and which of its errors count."""

from __future__ import annotations

import errno
import socket

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import LogEvent

from grape.dht.compact import Address
from grape.krpc.udp import DATAGRAMS_PER_TURN, Port, is_localhost, is_send_error_harmless, listen
from grape.testing import MemoryNetwork, MemoryPort

THERE = ("127.0.0.1", 20_001)


def test_send_error_of_an_earlier_datagram_sends_this_one_again() -> None:
    sent: list[tuple[bytes, Address]] = []
    assert is_send_error_harmless(lambda *datagram: sent.append(datagram), b"x", THERE, ConnectionRefusedError())
    assert sent == [(b"x", THERE)]


def test_full_send_buffer_is_a_lost_datagram_and_no_error() -> None:
    assert is_send_error_harmless(lambda *_: pytest.fail("sent again"), b"x", THERE, BlockingIOError())


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ENETUNREACH, errno.EPERM])
def test_other_send_errors_count(number: int) -> None:
    assert not is_send_error_harmless(lambda *_: pytest.fail("sent again"), b"x", THERE, OSError(number, "no"))


def test_send_error_that_comes_twice_counts() -> None:
    def refused(datagram: bytes, address: Address) -> None:
        raise ConnectionRefusedError

    assert not is_send_error_harmless(refused, b"x", THERE, ConnectionRefusedError())


def test_localhost_is_its_name_and_127() -> None:
    assert is_localhost("localhost")
    assert is_localhost("127.0.0.2")
    assert not is_localhost("10.0.0.1")


class Ears(DatagramProtocol):
    """Records the datagrams that are received."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.heard.append((datagram, addr))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_reads_a_bounded_number_of_datagrams_in_a_turn() -> None:
    ears = Ears()
    port = listen(reactor, 0, ears, "127.0.0.1")  # type: ignore[arg-type]
    assert isinstance(port, Port)
    here = ("127.0.0.1", port.getHost().port)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            count = DATAGRAMS_PER_TURN + 10
            for number in range(count):
                sender.sendto(b"%d" % number, here)
            port.doRead()
            assert len(ears.heard) == DATAGRAMS_PER_TURN
            port.doRead()
            assert ears.heard == [(b"%d" % number, sender.getsockname()) for number in range(count)]
            port.doRead()
            assert len(ears.heard) == count
    finally:
        await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_stays_open_whatever_its_protocol_raises(logged_failures: list[LogEvent]) -> None:
    class Raising(Ears):
        def datagramReceived(self, datagram: bytes, addr: Address) -> None:
            super().datagramReceived(datagram, addr)
            raise SystemExit if datagram == b"0" else OSError

    ears = Raising()
    port = listen(reactor, 0, ears, "127.0.0.1")  # type: ignore[arg-type]
    assert isinstance(port, Port)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(3):
                sender.sendto(b"%d" % number, ("127.0.0.1", port.getHost().port))
            port.doRead()
        assert [datagram for datagram, _ in ears.heard] == [b"0", b"1", b"2"]
        assert len(logged_failures) == 3
        logged_failures.clear()
    finally:
        await maybeDeferred(port.stopListening)


def test_listen_uses_the_listen_udp_of_a_fake_reactor() -> None:
    network = MemoryNetwork()
    assert isinstance(listen(network.reactor("10.0.0.1"), 0, Ears(), ""), MemoryPort)
