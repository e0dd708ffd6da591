"""grape.krpc.icmp: which ICMP errors count, and what a port does with them; recorded and real ones."""

from __future__ import annotations

import select
import socket
from struct import pack

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from grape.dht import messages as krpc
from grape.dht.compact import Address
from grape.dht.messages import encode_frame, encode_key_frame, encode_write, transaction_id_of, with_token
from grape.krpc.icmp import IP_RECVERR, refused_query
from grape.krpc.port import ERRORS_PER_TURN, IP_PKTINFO, IS_LINUX, Port
from tests.krpc.sockets import HOST, Echo, all_of, client, closed_port, opened, reactor

THERE = ("10.0.0.9", 20_001)
ID = b"n" * 20
PING = encode_frame(b"ping", {b"id": ID})
QUERIES = {
    "ping": PING,
    "read only": encode_frame(b"ping", {b"id": ID}, read_only=True),
    "get_peers": encode_key_frame(b"get_peers", ID, b"info_hash", b"k" * 300),
    "announce": with_token(encode_write(b"announce_peer", {b"id": ID, b"info_hash": b"k" * 20, b"port": 1}), b"t" * 8),
}


def query(transaction_id: bytes, frame: krpc.Frame = PING) -> bytes:
    return frame[0] + transaction_id + frame[1]


def row(origin: int = 2, error: int = 3, code: int = 3, offender: str = THERE[0], family: int = 2) -> bytes:
    """Returns the ancillary data of an ICMP error as Linux writes it; by default of a port that is unreachable."""
    return pack("=IBBBBII", 111, origin, error, code, 0, 0, 0) + pack("=HH4s8x", family, 0, socket.inet_aton(offender))


# Recorded from a socket on 127.0.0.1: a ping to a port of 127.0.0.2 on which nothing listened.
RECORDED = bytes.fromhex("6f00000002030300000000000000000002000000" + "7f000002" + "0000000000000000")


def test_recorded_error_is_of_a_refused_query() -> None:
    assert row(offender="127.0.0.2") == RECORDED
    assert refused_query(query(b"ab"), [(0, 11, RECORDED)], ("127.0.0.2", 1)) == b"ab"


@pytest.mark.parametrize("frame", QUERIES.values(), ids=QUERIES)
def test_unreachable_port_gives_the_transaction_id_of_every_query(frame: krpc.Frame) -> None:
    rows = [(socket.IPPROTO_IP, IP_PKTINFO, bytes(12)), (socket.IPPROTO_IP, IP_RECVERR, row())]
    for transaction_id in (b"ab", b"1:", b"\0\xff", b"\r\n"):
        assert refused_query(query(transaction_id, frame), rows, THERE) == transaction_id


OTHER_ERRORS = {
    "local": row(origin=1),
    "ICMPv6": row(origin=3),
    "time exceeded": row(error=11),
    "host unreachable": row(code=1),
    "prohibited": row(code=13),
    "another host": row(offender="10.0.0.8"),
    "no IPv4": row(family=10),
    "short": row()[:23],
    "empty": b"",
}


@pytest.mark.parametrize("data", OTHER_ERRORS.values(), ids=OTHER_ERRORS)
def test_other_errors_are_no_hint(data: bytes) -> None:
    assert refused_query(query(b"ab"), [(socket.IPPROTO_IP, IP_RECVERR, data)], THERE) is None


def test_error_without_ancillary_data_is_no_hint() -> None:
    assert refused_query(query(b"ab"), [], THERE) is None
    assert refused_query(query(b"ab"), [(socket.IPPROTO_IP, IP_PKTINFO, row())], THERE) is None
    assert refused_query(query(b"ab"), [(socket.SOL_SOCKET, IP_RECVERR, row())], THERE) is None


def test_quote_of_anything_but_a_whole_query_is_no_hint() -> None:
    rows = [(socket.IPPROTO_IP, IP_RECVERR, row())]
    whole = query(b"ab")
    for length in range(len(whole)):
        assert refused_query(whole[:length], rows, THERE) is None
    for other in (
        krpc.encode_response(b"ab", {b"id": ID}, b"q" * 6),
        krpc.encode_error(b"ab", 203, "no"),
        query(b"abc"),
        query(b"a"),
        whole + b"\0",
    ):
        assert refused_query(other, rows, THERE) is None


@given(st.binary(max_size=600), st.lists(st.tuples(st.just(0), st.just(11), st.binary(max_size=40))))
def test_refused_query_never_raises(quoted: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
    refused_query(quoted, ancillary, THERE)


@given(st.binary(max_size=100), st.binary(max_size=4))
def test_transaction_id_is_that_of_a_query_or_none(head: bytes, transaction_id: bytes) -> None:
    expected = transaction_id if len(transaction_id) == 2 else None
    assert transaction_id_of(head + b"1:t2:" + transaction_id + PING[1]) in (expected, None)
    assert transaction_id_of(head + b"1:t2:ab" + PING[1]) == b"ab"
    transaction_id_of(head)


# Real sockets

on_linux = pytest.mark.skipif(not IS_LINUX, reason="Linux only")


def is_pending(port: Port) -> bool:
    """Returns True if a reactor would call the port now."""
    poll = select.poll()
    poll.register(port.socket, select.POLLIN)
    return bool(poll.poll(0))


@on_linux
@pytest.mark.parametrize("host", ["", HOST])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_query_to_a_dead_process_is_refused_at_once(host: str) -> None:
    echo = Echo()
    async with opened(echo, host) as port:
        there = closed_port()
        port.socket.sendto(query(b"ab"), there)
        echo.when_refused.addTimeout(5, reactor)
        await echo.when_refused
        assert echo.refused == [(there, b"ab")]
        # The port is open, and reads.
        with client() as asker:
            asker.sendto(b"x", (HOST, port.getHost().port))
            for one in all_of(port):
                one.doRead()
            assert asker.recv(9) == b"x"


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_error_is_read_whether_the_reactor_reads_or_disconnects() -> None:
    echo = Echo()
    async with opened(echo, HOST) as port:
        there = closed_port()
        for number, call in enumerate([port.doRead, lambda: port.connectionLost(Failure(ConnectionDone()))]):
            port.socket.sendto(query(b"%02d" % number), there)
            assert is_pending(port)
            call()
            assert echo.refused == [(there, b"%02d" % n) for n in range(number + 1)]
            assert not is_pending(port)
            assert port in reactor.getReaders()


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_error_that_is_not_queued_is_cleared() -> None:
    async with opened(Echo(), HOST) as port:
        # Without IP_RECVERR, only a connected socket is told of errors, and has no queue for them.
        port.socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)
        port.socket.connect(closed_port())
        port.socket.send(b"x")
        assert is_pending(port)
        port.connectionLost(Failure(ConnectionDone()))
        assert not is_pending(port)


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_errors_are_read_before_the_datagrams_behind_them() -> None:
    echo = Echo()
    async with opened(echo, HOST) as port:
        with client() as asker:
            asker.sendto(b"x", (HOST, port.getHost().port))
            there = closed_port()
            port.socket.sendto(query(b"ab"), there)
            port.doRead()
            port.doRead()
            assert echo.refused == [(there, b"ab")]
            assert echo.heard == [(b"x", asker.getsockname())]


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_many_errors_are_read_over_several_turns_and_none_stops_the_next_datagram() -> None:
    echo = Echo()
    async with opened(echo, HOST) as port:
        there, count = closed_port(), 2 * ERRORS_PER_TURN + 1
        for _ in range(count):
            try:
                port.socket.sendto(query(b"ab"), there)
            except ConnectionRefusedError:
                port.socket.sendto(query(b"ab"), there)
        with client() as listener:
            for turn in range(1, 4):
                port.doRead()
                assert len(echo.refused) == min(turn * ERRORS_PER_TURN, count)
                port.socket.sendto(b"sent", listener.getsockname())
                assert listener.recv(9) == b"sent"
        assert not is_pending(port)


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_port_is_closed_when_the_reactor_ends() -> None:
    async with opened(Echo(), HOST) as port:
        port.connectionLost(Failure(ConnectionLost()))
        assert not port.connected
        assert port not in reactor.getReaders()


@on_linux
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_protocol_that_raises_at_an_error_is_logged(logged_failures: list[object]) -> None:
    class Raising(Echo):
        def unreachable(self, address: Address, transaction_id: bytes) -> None:
            super().unreachable(address, transaction_id)
            raise ValueError

    raising = Raising()
    async with opened(raising, HOST) as port:
        for _ in range(2):
            port.socket.sendto(query(b"ab"), closed_port())
            port.doRead()
        assert len(raising.refused) == len(logged_failures) == 2
        logged_failures.clear()
