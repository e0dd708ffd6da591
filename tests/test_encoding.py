"""grape.encoding: Python and JSON values to bencode and back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht import bencoding
from grape.encoding import MAX_DEPTH, MAX_INTEGER, Value, text_to_bytes, to_bencode, to_json

# Values that are stored without loss.
PLAIN = st.recursive(
    st.text() | st.integers(-MAX_INTEGER, MAX_INTEGER),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_text_numbers_lists_and_objects_come_back_as_they_were(value: Value) -> None:
    decoded, canonical = bencoding.decode(bencoding.encode(to_bencode(value)))
    assert canonical
    assert to_json(decoded) == (str(value) if isinstance(value, int) else value)


@given(PLAIN)
def test_stored_value_reads_the_same_before_and_after_encoding(value: Value) -> None:
    stored = to_bencode(value)
    decoded, _ = bencoding.decode(bencoding.encode(stored))
    assert json.dumps(to_json(stored)) == json.dumps(to_json(decoded))


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_encoded_as_utf_8(text: str) -> None:
    assert text_to_bytes(text) == text.encode()


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("\ud800", b"\xef\xbf\xbd"),
        ("a\udc00b", b"a\xef\xbf\xbdb"),
        ("\ud83d\ude00", "\U0001f600".encode()),
        ("\ud83d\ud83d\ude00", b"\xef\xbf\xbd" + "\U0001f600".encode()),
    ],
)
def test_lone_surrogate_becomes_the_replacement_character(text: str, octets: bytes) -> None:
    assert text_to_bytes(text) == octets


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("", b""),
        (b"\xff", b"\xff"),
        (True, 1),
        (False, 0),
        (5.0, 5),
        (-0.0, 0),
        (MAX_INTEGER, MAX_INTEGER),
        ({"b": 1, "a": None, "": "x"}, {b"": b"x", b"b": 1}),
        ([1, None, "é"], [1, "é".encode()]),
        ({}, {}),
        ([], []),
    ],
)
def test_to_bencode_converts_each_type(value: Value, stored: bencoding.BValue) -> None:
    assert to_bencode(value) == stored


@pytest.mark.parametrize("value", [None, 1.5, [0.1], {"a": {"b": 2.5}}, 2**63, -(2**63), 1e300, math.inf, math.nan])
def test_to_bencode_refuses_values_that_bencode_cannot_express(value: Value) -> None:
    with pytest.raises(ValueError, match=r"whole number|cannot be stored"):
        to_bencode(value)


def test_nesting_is_limited() -> None:
    value: Value = "x"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert to_json(to_bencode(value)) == value
    with pytest.raises(ValueError, match="deep"):
        to_bencode([value])
    with pytest.raises(ValueError, match="deep"):
        to_json([to_bencode(value)])


def test_to_json_replaces_bytes_that_are_not_utf_8() -> None:
    assert to_json(b"a\xffb") == "a\ufffdb"
    assert to_json({b"\xff": [b"\xfe", 1]}) == {"\ufffd": ["\ufffd", 1]}
