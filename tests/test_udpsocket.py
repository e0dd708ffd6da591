"""grape.udpsocket: what an error of a UDP socket means."""

from __future__ import annotations

import errno

import pytest

from grape.dht.compact import Address
from grape.udpsocket import is_elsewhere, sent_anyway

THERE = ("127.0.0.1", 20_001)


def test_an_error_left_over_from_an_earlier_datagram_sends_this_one_again() -> None:
    sent: list[tuple[bytes, Address]] = []
    assert sent_anyway(lambda *datagram: sent.append(datagram), b"x", THERE, ConnectionRefusedError())
    assert sent == [(b"x", THERE)]


def test_a_full_buffer_is_a_lost_datagram_and_no_error() -> None:
    assert sent_anyway(lambda *_: pytest.fail("sent again"), b"x", THERE, BlockingIOError())


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ENETUNREACH, errno.EPERM])
def test_other_errors_count(number: int) -> None:
    assert not sent_anyway(lambda *_: pytest.fail("sent again"), b"x", THERE, OSError(number, "no"))


def test_an_error_that_comes_twice_counts() -> None:
    def refused(datagram: bytes, address: Address) -> None:
        raise ConnectionRefusedError

    assert not sent_anyway(refused, b"x", THERE, ConnectionRefusedError())


def test_what_is_elsewhere() -> None:
    assert is_elsewhere("10.0.0.1")
    assert not is_elsewhere("localhost")
    assert not is_elsewhere("127.0.0.2")
