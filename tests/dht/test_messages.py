"""grape.dht.messages: messages to datagrams and back, errors, and canonical form."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError
from grape.dht.messages import CLIENT_VERSION, Error, Query, Response

ID = b"i" * 20

integers = st.integers(-(2**63), 2**63 - 1)
values: st.SearchStrategy[BValue] = st.recursive(
    integers | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
    max_leaves=8,
)
arguments = st.dictionaries(st.binary(max_size=12), values, max_size=5)


def refusal(datagram: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        krpc.decode(datagram)
    return caught.value


# Queries


def test_decode_reads_a_query() -> None:
    assert krpc.decode(b"d1:ad2:id20:" + ID + b"e1:q4:ping1:t2:aa1:y1:qe") == Query(b"ping", {b"id": ID}, b"aa")


@pytest.mark.parametrize(("ro", "expected"), [(b"2:roi1e", True), (b"2:roi0e", False), (b"2:ro1:1", False)])
def test_decode_reads_ro_of_1_as_read_only(ro: bytes, expected: bool) -> None:
    message = krpc.decode(b"d1:ade1:q4:ping" + ro + b"1:t2:aa1:y1:qe")
    assert isinstance(message, Query)
    assert message.read_only is expected


@pytest.mark.parametrize(
    ("t", "expected"),
    [(b"1:t0:", b""), (b"1:t10:0123456789", b"0123456789"), (b"1:ti5e", 5), (b"1:tl1:ae", [b"a"]), (b"", None)],
)
def test_decode_takes_any_transaction_id_or_none(t: bytes, expected: BValue | None) -> None:
    message = krpc.decode(b"d1:ade1:q4:ping" + t + b"1:y1:qe")
    assert isinstance(message, Query)
    assert message.transaction_id == expected


@pytest.mark.parametrize(
    "datagram",
    [
        b"d1:ade1:t2:aa1:y1:qe",
        b"d1:ade1:qi1e1:t2:aa1:y1:qe",
        b"d1:ade1:ql4:pinge1:t2:aa1:y1:qe",
        b"d1:ade1:qd8:toStringi1ee1:t2:aa1:y1:qe",
        b"d1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ai5e1:q4:ping1:t2:aa1:y1:qe",
        b"d1:a2:xx1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ale1:q4:ping1:t2:aa1:y1:qe",
    ],
)
def test_decode_raises_an_answerable_203_without_method_or_arguments(datagram: bytes) -> None:
    error = refusal(datagram)
    assert (error.code, error.answerable, error.transaction_id) == (203, True, b"aa")


# Responses and errors


def test_decode_reads_a_response() -> None:
    assert krpc.decode(b"d2:ip6:abcdef1:rd2:id20:" + ID + b"e1:t2:aa1:v4:LT011:y1:re") == Response({b"id": ID}, b"aa")


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (b"li203e3:noee", Error(203, "noe", b"aa")),
        (b"li203e3:noei5ee", Error(203, "noe", b"aa")),
        (b"li-1e0:e", Error(-1, "", b"aa")),
        (b"li202e2:\xff\xfee", Error(202, "\ufffd\ufffd", b"aa")),
        (b"li202ei5ee", Error(202, "", b"aa")),
    ],
)
def test_decode_reads_an_error_with_a_text_of_any_bytes(e: bytes, expected: Error) -> None:
    assert krpc.decode(b"d1:e" + e + b"1:t2:aa1:y1:ee") == expected


# Invalid datagrams


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"hello world",
        b"d",
        b"de",
        b"le",
        b"i5e",
        b"4:spam",
        b"99999999999999999999:",
        b"d1:y",
        b"d1:y1:q",
        b"d1:ad2:id99:x",
        b"l" * 20_000,
        b"d1:a" + b"l" * 8_000,
        b"d1:y1:xe",
        b"d1:yi1ee",
        b"d1:yd8:toStringi1eee",
        b"d1:t2:aa1:y1:re",
        b"d1:r2:xx1:t2:aa1:y1:re",
        b"d1:rle1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:ee",
        b"d1:eli203ee1:t2:aa1:y1:ee",
        b"d1:el3:noei203ee1:t2:aa1:y1:ee",
        b"d1:ei203e1:t2:aa1:y1:ee",
        b"di1e1:q1:y1:qe",
    ],
)
def test_decode_raises_not_answerable_for_what_is_no_message(datagram: bytes) -> None:
    assert not refusal(datagram).answerable


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"d1:ad2:id20:" + tail))
def test_decode_returns_a_message_or_raises_for_any_bytes(datagram: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(krpc.decode(datagram), Query | Response | Error)


@given(arguments, st.data())
def test_decode_refuses_a_truncated_query(named: dict[bytes, BValue], data: st.DataObject) -> None:
    datagram = krpc.encode_query(b"aa", b"ping", named)
    cut = data.draw(st.integers(0, len(datagram) - 1))
    assert not refusal(datagram[:cut]).answerable


# Canonical form


@pytest.mark.parametrize(
    "datagram",
    [
        b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id1:xee",
        b"d1:ad2:id1:xe1:q4:ping1:t2:aa1:y1:qexxxx",
        b"d1:ad2:id1:xe1:q4:pong1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id01:xe1:q4:ping1:t2:aa1:y1:qe",
    ],
    ids=["unsorted", "trailing", "repeated", "length with a zero"],
)
def test_decode_marks_what_only_the_lenient_reader_takes(datagram: bytes) -> None:
    assert krpc.decode(datagram) == Query(b"ping", {b"id": b"x"}, b"aa", canonical=False)


@pytest.mark.parametrize(("text", "value"), [(b"i+5e", 5), (b"i007e", 7), (b"i-0e", 0)])
def test_decode_marks_odd_integers_as_not_canonical(text: bytes, value: int) -> None:
    message = krpc.decode(b"d1:ad4:port" + text + b"e1:q4:ping1:t2:aa1:y1:qe")
    assert message == Query(b"ping", {b"port": value}, b"aa", canonical=False)


@pytest.mark.parametrize("text", [b"ie", b"i1", b"i--1e", b"i1.5e", b"i1e5e", b"i " + b"1e", b"i" + b"1" * 21 + b"x"])
def test_decode_refuses_what_is_no_integer(text: bytes) -> None:
    assert not refusal(b"d1:ad4:port" + text + b"e1:q4:ping1:t2:aa1:y1:qe").answerable


# Round trips


@given(st.binary(max_size=10), st.binary(max_size=20), arguments, st.booleans())
def test_query_decodes_to_what_was_encoded(t: bytes, method: bytes, named: dict[bytes, BValue], ro: bool) -> None:
    assert krpc.decode(krpc.encode_query(t, method, named, read_only=ro)) == Query(method, named, t, ro)


@given(st.none() | values, arguments)
def test_response_decodes_to_what_was_encoded(t: BValue | None, named: dict[bytes, BValue]) -> None:
    assert krpc.decode(krpc.encode_response(t, named, b"abcdef")) == Response(named, t)


@given(st.none() | values, integers, st.text(max_size=40))
def test_error_decodes_to_what_was_encoded(t: BValue | None, code: int, text: str) -> None:
    assert krpc.decode(krpc.encode_error(t, code, text)) == Error(code, text, t)


def test_messages_carry_our_version_and_responses_the_querier() -> None:
    version = b"1:v4:" + CLIENT_VERSION
    assert krpc.encode_query(b"aa", b"ping", {b"id": b"x"}) == b"d1:ad2:id1:xe1:q4:ping1:t2:aa" + version + b"1:y1:qe"
    assert b"2:roi1e" in krpc.encode_query(b"aa", b"ping", {}, read_only=True)
    assert krpc.encode_response(b"aa", {}, b"abcdef") == b"d2:ip6:abcdef1:rde1:t2:aa" + version + b"1:y1:re"
    assert krpc.encode_error(b"aa", 204, "no") == b"d1:eli204e2:noe1:t2:aa" + version + b"1:y1:ee"


def test_response_and_error_omit_a_missing_transaction_id() -> None:
    assert b"1:t" not in krpc.encode_response(None, {}, b"abcdef")
    assert b"1:t" not in krpc.encode_error(None, 203, "no")


# Datagrams assembled from parts


@given(st.binary(max_size=20), arguments, st.booleans())
def test_frame_is_a_query_without_its_transaction_id(
    method: bytes, named: dict[bytes, BValue], read_only: bool
) -> None:
    before, after = krpc.encode_frame(method, named, read_only=read_only)
    assert before + b"aa" + after == krpc.encode_query(b"aa", method, named, read_only=read_only)


@given(st.sampled_from([b"info_hash", b"target"]), st.binary(max_size=30), st.booleans())
def test_key_frame_is_a_query_about_a_key(field: bytes, key: bytes, read_only: bool) -> None:
    before, after = krpc.encode_key_frame(b"get", b"n" * 20, field, key, read_only=read_only)
    whole = krpc.encode_query(b"aa", b"get", {b"id": b"n" * 20, field: key}, read_only=read_only)
    assert before + b"aa" + after == whole


@given(arguments, st.binary(max_size=64), st.booleans())
def test_write_with_a_token_is_a_query_with_that_token(
    named: dict[bytes, BValue], token: bytes, read_only: bool
) -> None:
    named.pop(b"token", None)
    before, after = krpc.with_token(krpc.encode_write(b"put", named, read_only=read_only), token)
    whole = krpc.encode_query(b"aa", b"put", {**named, b"token": token}, read_only=read_only)
    assert before + b"aa" + after == whole


@given(st.none() | values, st.binary(max_size=30))
def test_answer_from_parts_is_a_response(t: BValue | None, nodes: bytes) -> None:
    members = b"5:nodes%d:%b" % (len(nodes), nodes)
    whole = krpc.encode_response(t, {b"id": b"n" * 20, b"nodes": nodes}, b"abcdef")
    assert krpc.encode_answer(t, b"n" * 20, members, b"abcdef") == whole
