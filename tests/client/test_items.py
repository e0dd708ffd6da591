"""grape.client.items, requests and answers: signatures of BEP 44, bodies as they are sent, answers as they are read."""

from __future__ import annotations

import json
from hashlib import sha1

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grape.client import requests
from grape.client.answers import Answer
from grape.client.errors import AnswerError
from grape.client.items import Item, mutable_hash, new_private_key, public_key, restored, sign, verified
from grape.errors import GrapeError

# Of BEP 44's test vectors.
KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
SIGNATURE = bytes.fromhex(
    "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
)
SALTED_SIGNATURE = bytes.fromhex(
    "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
)
HASH = "4a533d47ec9c7d95b1ad75f576cffc641853b750"
PRIVATE = bytes(range(32))


def test_items_of_bep_44_are_verified() -> None:
    assert mutable_hash(KEY) == HASH
    assert verified(Item("Hello World!", "", KEY, SIGNATURE, 1)) is not None
    assert mutable_hash(KEY, "foobar") == "411eba73b6f087ca51a3795d9c8c938d365e32c1"
    salted = Item("Hello World!", "", KEY, SALTED_SIGNATURE, 1, b"foobar")
    assert verified(salted) == salted
    for wrong in ({"salt": b""}, {"seq": 2}, {"value": "Hello"}, {"key": None}, {"signature": b"1"}, {"key": b"1"}):
        assert verified(attrs.evolve(salted, **wrong)) is None


@given(
    value=st.recursive(
        st.text(max_size=20) | st.integers(-(2**63) + 1, 2**63 - 1),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    seq=st.integers(-5, 2**53),
    salt=st.binary(max_size=64),
)
@example(value=-(2**63) + 1, seq=1, salt=b"")
@example(value="-9223372036854775807", seq=1, salt=b"")
def test_signed_items_are_verified_and_their_values_come_back(value: str | int, seq: int, salt: bytes) -> None:
    item = sign(PRIVATE, value, seq, salt)
    # As a grape tells it: a number is text.
    told = attrs.evolve(item, value=str(value) if isinstance(value, int) else value)
    assert verified(told) == item
    assert item.is_stored_as(verified(told))
    assert not item.is_stored_as(None)


def test_number_is_told_from_its_text_by_the_hash() -> None:
    for value, raw in ((5, b"i5e"), ("5", b"1:5"), ("05", b"2:05"), (-7, b"i-7e"), ("x", b"1:x")):
        assert restored(Item(str(value)), sha1(raw).hexdigest()).value == value
    assert restored(Item("5"), "0" * 40).value == "5"


def test_new_keys_differ_and_have_32_bytes() -> None:
    private_key = new_private_key()
    assert private_key != new_private_key()
    assert len(private_key) == len(public_key(private_key)) == 32
    for size in (0, 31, 64):
        with pytest.raises(ValueError, match="32"):
            public_key(bytes(size))
        with pytest.raises(ValueError, match="32"):
            mutable_hash(bytes(size))


def test_salt_is_at_most_64_bytes() -> None:
    with pytest.raises(ValueError, match="64 bytes, not 65"):
        mutable_hash(KEY, "x" * 65)
    with pytest.raises(ValueError, match="salt"):
        sign(PRIVATE, "words", 1, bytes(65))


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**63, {"a": 1.5}])
def test_value_that_bencode_does_not_have_is_refused(value: float | dict[str, float]) -> None:
    for make in (lambda: requests.put(value), lambda: sign(PRIVATE, value, 1)):
        with pytest.raises(GrapeError) as raised:
            make()
        assert (raised.value.code, raised.value.status) == ("ERR_GRAPE_PUT", 400)


def test_bodies_are_those_of_grenache_clients() -> None:
    item = sign(PRIVATE, "words", 7, b"salt")
    assert requests.lookup("a ✓").body("id") == '{"rid":"id","data":"a ✓"}'.encode()
    assert requests.announce("a", 1).data == ["a", 1]
    assert requests.announce("a", 1, 30).data == ["a", 1, {"ttl": 30}]
    assert requests.put("\ud800").body("id") == '{"rid":"id","data":{"v":"\ufffd"}}'.encode()
    assert json.loads(requests.put_signed(item, 6).body("id"))["data"] == {
        "v": "words",
        "k": public_key(PRIVATE).hex(),
        "sig": item.signature.hex(),
        "seq": 7,
        "salt": {"type": "Buffer", "data": [115, 97, 108, 116]},
        "cas": 6,
    }
    assert requests.get("0" * 40).data == "0" * 40
    assert requests.page("/status").body("id") == b""


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [
        (Answer(200, b'"ERR_GRAPE_HASH_FORMAT"'), "ERR_GRAPE_HASH_FORMAT", 200),
        (Answer(302, b'"302 sequence number less than current"'), "302 sequence number less than current", 302),
        (Answer(403, b"ERR_GRAPE_HOST: allow it"), "ERR_GRAPE_HOST: allow it", 403),
        (Answer(502, b""), "HTTP status 502", 502),
    ],
)
def test_error_of_an_answer_is_raised_whatever_its_status(answer: Answer, code: str, status: int) -> None:
    for request in (requests.lookup("a"), requests.put("a"), requests.get("0" * 40), requests.announce("a", 1)):
        with pytest.raises(GrapeError) as raised:
            request.read(answer)
        assert (raised.value.code, raised.value.status) == (code, status)


def test_get_reads_items_and_their_absence() -> None:
    read = requests.get("0" * 40).read
    assert read(Answer(200, b"")) is None
    assert read(Answer(200, b"null")) is None
    assert read(Answer(200, b'{"id":"ab","token":null,"v":"words"}')) == Item("words", "ab")
    for body in (b"{}", b'{"v":null}', b"5", b'{"v":"a","seq":1.5}', b'{"v":"a","k":"xyz"}', b'{"v":"a","k":5}'):
        with pytest.raises(AnswerError):
            read(Answer(200, body))


def test_get_of_a_key_takes_its_items_alone() -> None:
    told = {"id": "ab", "v": "Hello World!", "k": KEY.hex(), "sig": SIGNATURE.hex(), "seq": 1}
    read = requests.get(HASH, b"", KEY).read
    item = read(Answer(200, json.dumps(told).encode()))
    assert item == Item("Hello World!", "ab", KEY, SIGNATURE, 1)
    for wrong in ({"v": "Hello"}, {"seq": 2}, {"k": public_key(PRIVATE).hex()}, {"k": None}, {"sig": "00"}):
        with pytest.raises(AnswerError, match="not signed with the key"):
            read(Answer(200, json.dumps(told | wrong).encode()))


@given(body=st.binary(max_size=60), status=st.sampled_from([200, 301, 404, 500, 503]))
def test_any_answer_is_read_or_is_a_grape_error(body: bytes, status: int) -> None:
    every = (
        requests.lookup("a"),
        requests.announce("a", 1),
        requests.unannounce("a", 1),
        requests.put("a"),
        requests.get("0" * 40),
        requests.get(HASH, b"", KEY),
        requests.page("/status"),
    )
    for request in every:
        try:
            request.read(Answer(status, body))
        except GrapeError:
            continue
