"""grape.dht.bencoding: canonical bencode, and other forms that the reference's decoder takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.bencoding import MAX_DEPTH, MAX_LENIENT_BYTES, BValue, decode, encode
from tests import strategies


@given(strategies.bvalues())
def test_decode_returns_what_was_encoded(value: BValue) -> None:
    assert decode(encode(value)) == (value, True)


@given(st.dictionaries(st.binary(max_size=8), strategies.bvalues(), max_size=6))
def test_encode_sorts_keys(members: dict[bytes, BValue]) -> None:
    written = b"".join(encode(key) + encode(members[key]) for key in sorted(members))
    assert encode({key: members[key] for key in sorted(members, reverse=True)}) == b"d" + written + b"e"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"d1:bi1e1:ai2ee", {b"a": 2, b"b": 1}),
        (b"d1:ai1e1:ai2ee", {b"a": 2}),
        (b"d1:ai1eetrailing", {b"a": 1}),
        (b"d1:ai1eed1:ai2ee", {b"a": 1}),
        (b"d1:ai+5ee", {b"a": 5}),
        (b"d1:ai005ee", {b"a": 5}),
        (b"d1:ai-05ee", {b"a": -5}),
        (b"d1:ai-0ee", {b"a": 0}),
        (b"d01:a003:abce", {b"a": b"abc"}),
        (b"d1:b2:xx1:ald1:bi1e1:ai2eeee", {b"a": [{b"a": 2, b"b": 1}], b"b": b"xx"}),
    ],
    ids=[
        "unsorted keys",
        "a repeated key: the last counts",
        "trailing bytes",
        "a second message",
        "a plus sign",
        "leading zeros",
        "leading zeros of a negative number",
        "negative zero",
        "leading zeros of a length",
        "unsorted keys deep inside",
    ],
)
def test_decode_reads_what_the_reference_reads_as_not_canonical(data: bytes, value: BValue) -> None:
    assert decode(data) == (value, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"d",
        b"i05e",
        b"li+1ee",
        b"d1:ai5e",
        b"d1:aiee",
        b"d1:ai-ee",
        b"d1:ai+-5ee",
        b"d1:ai1.5ee",
        b"d1:ai 5ee",
        b"d1:ai1_0ee",
        b"d1:a-1:xe",
        b"d1:a5:abce",
        b"d1:a99999999999:xe",
        b"di1ei2ee",
        b"dle1:ae",
        b"d1:a",
        b"d1:b1:x1:a",
        b"d1:ai" + b"9" * 5_000 + b"ee",
        b"d1:b0:1:ai" + b"0" * 21 + b"ee",
        b"{}",
        b"\xff" * 50,
    ],
)
def test_decode_refuses_what_is_not_bencode(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data)


@given(strategies.hostile_datagrams())
def test_decode_returns_or_raises_value_error_for_any_bytes(data: bytes) -> None:
    try:
        value, canonical = decode(data)
    except ValueError:
        return
    if canonical:
        assert encode(value) == data
    else:
        assert decode(encode(value)) == (value, True)


def test_lenient_reader_limits_depth() -> None:
    def nested(depth: int) -> bytes:
        return b"d1:b0:1:a" + b"l" * (depth - 1) + b"e" * (depth - 1) + b"e"

    assert decode(nested(MAX_DEPTH))[1] is False
    with pytest.raises(ValueError, match="too deep"):
        decode(nested(MAX_DEPTH + 1))


def test_decode_refuses_depths_that_would_exhaust_the_stack() -> None:
    for data in (b"l" * 60_000, b"d1:a" * 15_000, b"l" * 30_000 + b"e" * 30_000):
        with pytest.raises(ValueError):  # noqa: PT011
            decode(data)


def test_lenient_reader_limits_length() -> None:
    room = MAX_LENIENT_BYTES - len(b"d1:b0000:1:a0:e")
    data = b"d1:b%d:" % room + bytes(room) + b"1:a0:e"
    assert len(data) == MAX_LENIENT_BYTES
    assert decode(data)[1] is False
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data + b"x")
