"""grape.krpc.udp: which sockets are opened, and which send errors count."""

from __future__ import annotations

import errno

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from grape.dht.compact import Address
from grape.krpc import udp
from grape.krpc.port import IS_LINUX, AnsweringProtocol, Port, WildcardPort
from grape.krpc.udp import MAX_REPETITIONS, bind_address, is_localhost, is_sent_again, listen
from grape.testing import MemoryNetwork, MemoryPort

THERE = ("127.0.0.1", 20_001)
ERRORS = [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO, errno.EMSGSIZE, errno.EPERM]


class Line:
    """A socket's ``sendto`` that raises these errors in turn and then sends."""

    def __init__(self, *numbers: int) -> None:
        self.errors = [OSError(number, "no") for number in numbers]
        self.sent: list[tuple[bytes, Address]] = []

    def send_to(self, datagram: bytes, address: Address) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((datagram, address))


@pytest.mark.parametrize("number", ERRORS)
def test_send_error_of_an_earlier_datagram_sends_this_one_again(number: int) -> None:
    line = Line()
    assert is_sent_again(line.send_to, b"x", THERE, OSError(number, "no"))
    assert line.sent == [(b"x", THERE)]


def test_send_error_between_the_first_error_and_the_repetition_is_none() -> None:
    line = Line(*[errno.EHOSTUNREACH] * (MAX_REPETITIONS - 1))
    assert is_sent_again(line.send_to, b"x", THERE, ConnectionRefusedError())
    assert line.sent == [(b"x", THERE)]


@pytest.mark.parametrize("number", ERRORS)
def test_send_error_that_comes_each_time_counts(number: int) -> None:
    line = Line(*[number] * MAX_REPETITIONS)
    assert not is_sent_again(line.send_to, b"x", THERE, OSError(number, "no"))
    assert not line.errors
    assert not line.sent


def test_full_send_buffer_is_a_lost_datagram_and_no_error() -> None:
    line = Line()
    assert is_sent_again(line.send_to, b"x", THERE, BlockingIOError())
    assert not line.sent


@pytest.mark.parametrize("before", range(MAX_REPETITIONS))
def test_full_send_buffer_at_a_repetition_is_a_lost_datagram(before: int) -> None:
    line = Line(*[errno.ECONNREFUSED] * before, errno.EAGAIN)
    assert is_sent_again(line.send_to, b"x", THERE, ConnectionRefusedError())
    assert not line.errors
    assert not line.sent


def test_localhost_is_its_name_and_127() -> None:
    assert is_localhost("localhost")
    assert is_localhost("127.0.0.2")
    assert not is_localhost("10.0.0.1")


def test_name_that_does_not_resolve_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListenError):
        bind_address("\udcff", 20_001)


def test_listen_uses_the_listen_udp_of_a_fake_reactor() -> None:
    network = MemoryNetwork()
    assert isinstance(listen(network.reactor("10.0.0.1"), 0, AnsweringProtocol(), ""), MemoryPort)


async def kind(host: str) -> type[object]:
    """Returns the class of the port that ``listen`` opens for a host."""
    port = listen(reactor, 0, AnsweringProtocol(), host)  # type: ignore[arg-type]
    await maybeDeferred(port.stopListening)
    return type(port)


@pytest.mark.skipif(not IS_LINUX, reason="Linux only")
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_listen_on_all_addresses_opens_a_wildcard_port() -> None:
    assert await kind("") is WildcardPort


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_listen_on_one_address_opens_one_socket() -> None:
    assert await kind("127.0.0.1") is Port


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_listen_on_other_systems_opens_one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "IS_LINUX", False)
    assert await kind("") is Port
