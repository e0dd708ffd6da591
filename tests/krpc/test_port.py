"""grape.krpc.port: reading, answering from the address that was asked, and what is bound; on real sockets."""

from __future__ import annotations

import errno
import socket

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import LogEvent, capturedLogs

from grape.dht.compact import Address
from grape.krpc import port as module
from grape.krpc.icmp import IP_RECVERR
from grape.krpc.interfaces import LOOPBACK, local_addresses, primary_address
from grape.krpc.port import (
    DATAGRAMS_PER_TURN,
    IP_MTU_DISCOVER,
    IP_PMTUDISC_DONT,
    IS_LINUX,
    AnsweringProtocol,
    Port,
    SendTo,
    WildcardPort,
)
from grape.krpc.udp import listen
from tests.krpc.sockets import HOST, Echo, all_of, bind, client, opened, reactor, read

on_linux = pytest.mark.skipif(not IS_LINUX, reason="Linux only")
# All of 127.* is local on Linux.
HOSTS = ["127.0.0.1", "127.0.0.2", "127.1.2.3", *(host for host in local_addresses() if host != HOST)]


def number_of(port: Port) -> int:
    number: int = port.getHost().port
    return number


# Reading


@pytest.mark.parametrize("host", ["", HOST])
@pytest.mark.parametrize("asked", [HOST, pytest.param("127.0.0.2", marks=on_linux)])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_reads_a_bounded_number_of_datagrams_in_a_turn(host: str, asked: str) -> None:
    if host:
        host = asked
    echo = Echo()
    async with opened(echo, host) as port:
        with client() as sender:
            count = DATAGRAMS_PER_TURN + 10
            for number in range(count):
                sender.sendto(b"%d" % number, (asked, number_of(port)))
            read(port)
            assert len(echo.heard) == DATAGRAMS_PER_TURN
            read(port)
            assert echo.heard == [(b"%d" % number, sender.getsockname()) for number in range(count)]
            read(port)
            assert len(echo.heard) == count


@on_linux
@pytest.mark.parametrize("host", ["", HOST])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_tells_how_many_datagrams_a_full_buffer_lost(host: str) -> None:
    echo, sent = Echo(), 500
    async with opened(echo, host) as port:
        assert port.dropped == 0
        for one in all_of(port):
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with client() as sender:
            for _ in range(sent):
                sender.sendto(b"x", (HOST, number_of(port)))
        dropped = port.dropped
        assert dropped
        for _ in range(sent // DATAGRAMS_PER_TURN + 1):
            read(port)
        assert len(echo.heard) + dropped == sent
    assert port.dropped is None


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_tells_no_number_of_lost_datagrams_where_the_kernel_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SO_MEMINFO", 250)
    async with opened(Echo()) as port:
        assert port.dropped is None


@pytest.mark.parametrize("asked", [HOST, pytest.param("127.0.0.2", marks=on_linux)])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_stays_open_whatever_its_protocol_raises(logged_failures: list[LogEvent], asked: str) -> None:
    class Raising(Echo):
        def datagramReceived(self, datagram: bytes, addr: Address) -> None:
            super().datagramReceived(datagram, addr)
            raise SystemExit if datagram == b"0" else OSError

    raising = Raising()
    async with opened(raising) as port:
        with client() as sender:
            for number in range(3):
                sender.sendto(b"%d" % number, (asked, number_of(port)))
            read(port)
        assert [datagram for datagram, _ in raising.heard] == [b"0", b"1", b"2"]
        assert len(logged_failures) == 3
        logged_failures.clear()


@pytest.mark.parametrize("asked", [HOST, pytest.param("127.0.0.2", marks=on_linux)])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_turn_that_reads_a_datagram_looks_for_no_error(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    async with opened(Echo()) as port:
        with client() as sender:
            for one in all_of(port):
                monkeypatch.setattr(one, "_read_errors", lambda: pytest.fail("looked for errors"))
            sender.sendto(b"x", (asked, number_of(port)))
            for one in all_of(port):
                if one.getHost().host in ((asked,) if asked == HOST else ("0.0.0.0",)):
                    one.doRead()
            assert sender.recv(9) == b"x"


# Answers


@on_linux
@pytest.mark.parametrize("asked", HOSTS)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_answer_leaves_from_the_address_that_was_asked(asked: str) -> None:
    async with opened(Echo()) as port:
        with client() as asker:
            for number in range(3):
                asker.sendto(b"%d" % number, (asked, number_of(port)))
                read(port)
                assert asker.recvfrom(9) == (b"%d" % number, (asked, number_of(port)))


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_later_answer_leaves_from_the_address_that_was_asked() -> None:
    ways: list[tuple[SendTo, Address]] = []

    class Later(AnsweringProtocol):
        noisy = False

        def datagramReceived(self, datagram: bytes, addr: Address) -> None:
            assert self.reply_by is not None
            ways.append((self.reply_by, addr))

    async with opened(Later()) as port:
        with client() as asker:
            for asked in HOSTS:
                asker.sendto(b"x", (asked, number_of(port)))
                read(port)
            for send_to, address in reversed(ways):
                send_to(b"later", address)
            answers = [asker.recvfrom(9) for _ in HOSTS]
            assert answers == [(b"later", (asked, number_of(port))) for asked in reversed(HOSTS)]


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_usual_traffic_goes_to_the_ports_beside_that_on_all_addresses() -> None:
    class Silent(Echo):
        def datagramReceived(self, datagram: bytes, addr: Address) -> None:
            self.heard.append((datagram, addr))

    silent = Silent()
    async with opened(silent) as port:
        with client() as asker:
            usual = [host for host in (LOOPBACK, primary_address()) if host is not None]
            for asked in HOSTS:
                asker.sendto(asked.encode(), (asked, number_of(port)))
            port.doRead()
            assert {datagram.decode() for datagram, _ in silent.heard} == set(HOSTS) - set(usual)


# Binding


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_wildcard_port_has_ports_on_loopback_and_the_primary_address() -> None:
    async with opened(Echo()) as port:
        number = number_of(port)
        expected = [("0.0.0.0", number), (LOOPBACK, number)]
        if (primary := primary_address()) is not None:
            expected.append((primary, number))
        assert [one.socket.getsockname() for one in all_of(port)] == expected
        assert (port.getHost().host, number > 0) == ("0.0.0.0", True)


@pytest.mark.parametrize("taken", ["", HOST])
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("host", ["", HOST])
def test_port_that_is_taken_cannot_be_opened(taken: str, reuse: bool, host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        other.bind((taken, 0))
        with pytest.raises(CannotListenError) as caught:
            listen(reactor, other.getsockname()[1], Echo(), host)
        assert caught.value.socketError.errno == errno.EADDRINUSE


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_no_other_socket_can_take_traffic_of_an_open_port() -> None:
    async with opened(Echo()) as port:
        for one in all_of(port):
            assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        for host in ("", *HOSTS):
            for reuse in (False, True):
                with pytest.raises(OSError, match="in use"):
                    bind((host, number_of(port)), reuse=reuse)


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_sockets_have_a_large_buffer_and_fragmentable_datagrams() -> None:
    with client() as plain:
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    for host in ("", HOST):
        async with opened(Echo(), host) as port:
            for one in all_of(port):
                assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= usual
                assert one.socket.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DONT
                assert one.socket.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 1


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_that_cannot_be_opened_beside_is_logged_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "primary_address", lambda: "203.0.113.7")
    with capturedLogs() as events:
        async with opened(Echo()) as port:
            assert [one.getHost().host for one in all_of(port)] == ["0.0.0.0", LOOPBACK]
            with client() as asker:
                for asked in ("127.0.0.1", "127.0.0.2"):
                    asker.sendto(b"x", (asked, number_of(port)))
                    read(port)
                    assert asker.recvfrom(9) == (b"x", (asked, number_of(port)))
    lines = [event for event in events if event.get("host") == "203.0.113.7"]
    assert [event["log_level"].name for event in lines] == ["info"]


@on_linux
@pytest.mark.parametrize("primary", [None, LOOPBACK])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_host_without_a_network_has_a_port_on_loopback(
    monkeypatch: pytest.MonkeyPatch, primary: str | None
) -> None:
    monkeypatch.setattr(module, "primary_address", lambda: primary)
    async with opened(Echo()) as port:
        assert [one.getHost().host for one in all_of(port)] == ["0.0.0.0", LOOPBACK]


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_option_that_a_system_refuses_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("IP_PKTINFO", "IP_RECVERR", "IP_MTU_DISCOVER"):
        monkeypatch.setattr(module, option, 250)
    async with opened(Echo()) as port:
        with client() as asker:
            asker.sendto(b"x", (HOST, number_of(port)))
            read(port)
            assert asker.recvfrom(9) == (b"x", (HOST, number_of(port)))


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_stop_listening_fires_when_all_sockets_are_closed() -> None:
    class Lifecycle(Echo):
        calls = ""

        def startProtocol(self) -> None:
            self.calls += "started "

        def stopProtocol(self) -> None:
            self.calls += "stopped "

    protocol = Lifecycle()
    async with opened(protocol) as port:
        assert isinstance(port, WildcardPort)
        sockets, number = [one.socket for one in all_of(port)], number_of(port)
        assert len(sockets) >= 2
        await maybeDeferred(port.stopListening)
        assert {one.fileno() for one in sockets} == {-1}
        assert protocol.calls == "started stopped "
        bind(("", number))
        await maybeDeferred(port.stopListening)
