"""BEP 44 items: its published test vectors, sizes, signatures, and which update may replace what."""

from __future__ import annotations

import tracemalloc

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from grape.dht import bencoding
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import (
    _SMALL_ORDER,
    MAX_SEQ,
    Item,
    check_update,
    from_response,
    immutable,
    is_signed,
    mutable,
    signature_input,
)

HELLO = b"Hello World!"
KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
# BEP 44, "Test vectors": salt, target, signature.
MUTABLE_VECTORS = [
    (
        b"",
        "4a533d47ec9c7d95b1ad75f576cffc641853b750",
        "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
        "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
    ),
    (
        b"foobar",
        "411eba73b6f087ca51a3795d9c8c938d365e32c1",
        "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
        "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
    ),
]
IMMUTABLE_TARGET = "e5f96f6f38320f0f33959cb4d3d656452117aadb"

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def signed(value: BValue, seq: int, salt: bytes = b"") -> Item:
    raw = bencoding.encode(value)
    return mutable(value, PUBLIC, PRIVATE.sign(signature_input(raw, seq, salt)), seq, salt)


def refusal(call: object, *arguments: object) -> int:
    assert callable(call)
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.code


def test_the_immutable_vector_of_bep_44() -> None:
    assert immutable(HELLO).target.hex() == IMMUTABLE_TARGET


@pytest.mark.parametrize(("salt", "target", "signature"), MUTABLE_VECTORS)
def test_the_mutable_vectors_of_bep_44(salt: bytes, target: str, signature: str) -> None:
    item = mutable(HELLO, KEY, bytes.fromhex(signature), 1, salt)
    assert item.target.hex() == target
    assert is_signed(item)


def test_the_signed_bytes_are_those_of_bep_44() -> None:
    raw = bencoding.encode(HELLO)
    assert signature_input(raw, 1, b"") == b"3:seqi1e1:v12:Hello World!"
    assert signature_input(raw, 1, b"foobar") == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"


def test_a_signature_is_for_one_key_value_seq_and_salt() -> None:
    good = signed(HELLO, 7, b"salt")
    assert is_signed(good)
    assert not is_signed(mutable(b"other", PUBLIC, good.signature, 7, b"salt"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 8, b"salt"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 7, b"salz"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 7))
    assert not is_signed(mutable(HELLO, KEY, good.signature, 7, b"salt"))
    assert not is_signed(immutable(HELLO))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_no_key_or_signature_raises(key: bytes, signature: bytes) -> None:
    assert not is_signed(mutable(HELLO, key, signature, 1))


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("key", sorted(_SMALL_ORDER))
def test_keys_of_small_order_sign_nothing(key: bytes, sign: int) -> None:
    key = key[:-1] + bytes([key[-1] | sign])
    for first in range(0, 256, 5):
        assert not is_signed(mutable(HELLO, key, bytes([first]) + bytes(63), 1))


def test_openssl_alone_would_take_a_key_of_small_order() -> None:
    # The neutral element as key and as R, and S = 0: this is why the rule above is there.
    neutral = b"\x01" + bytes(31)
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"any message")
    assert not is_signed(mutable(HELLO, neutral, neutral + bytes(32), 1))


@pytest.mark.parametrize("value", [b"x" * 1_000, [b"x" * 993], 0, b"", [], {}])
def test_values_up_to_a_thousand_bytes_are_taken(value: BValue) -> None:
    assert immutable(value).value == value
    assert mutable(value, PUBLIC, bytes(64), 1).raw == bencoding.encode(value)


def test_an_item_of_nested_lists_takes_no_more_memory_than_its_bytes() -> None:
    value: BValue = []
    for _ in range(498):
        value = [value]
    tracemalloc.start()
    items = [immutable(value) for _ in range(100)]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 100 * 2_000
    assert items[0].value == value


@pytest.mark.parametrize("value", [b"x" * 1_001, [b"x" * 995], {b"k": b"x" * 992}])
def test_bigger_values_are_refused_with_205(value: BValue) -> None:
    assert refusal(immutable, value) == 205
    assert refusal(mutable, value, PUBLIC, bytes(64), 1) == 205


def test_parts_of_a_wrong_size_are_refused() -> None:
    assert mutable(HELLO, PUBLIC, bytes(64), 1, b"s" * 64).salt == b"s" * 64
    assert refusal(mutable, HELLO, PUBLIC, bytes(64), 1, b"s" * 65) == 207
    assert refusal(mutable, HELLO, PUBLIC[:-1], bytes(64), 1) == 203
    assert refusal(mutable, HELLO, PUBLIC, bytes(63), 1) == 203
    assert refusal(mutable, HELLO, PUBLIC, bytes(64), MAX_SEQ + 1) == 203
    assert mutable(HELLO, PUBLIC, bytes(64), MAX_SEQ).seq == MAX_SEQ


@pytest.mark.parametrize(
    ("stored", "new", "cas", "code"),
    [
        ((b"a", 1), (b"b", 2), None, None),
        ((b"a", 1), (b"b", 9), None, None),
        ((b"a", 1), (b"a", 1), None, None),
        ((b"a", 1), (b"b", 1), None, 302),
        ((b"a", 2), (b"b", 1), None, 302),
        ((b"a", 2), (b"a", 1), None, 302),
        ((b"a", 1), (b"b", 2), 1, None),
        ((b"a", 1), (b"b", 2), 2, 301),
        ((b"a", 0), (b"b", 1), 0, None),
        ((b"a", 1), (b"b", 2), 0, 301),
        ((b"a", 5), (b"b", 1), 9, 301),
        ((b"a", 5), (b"b", 1), 5, 302),
        # A put whose answer was lost is put again, with the same cas.
        ((b"a", 1), (b"a", 1), 9, None),
    ],
)
def test_seq_and_cas_say_what_replaces_what(
    stored: tuple[bytes, int], new: tuple[bytes, int], cas: int | None, code: int | None
) -> None:
    arguments = signed(*stored), signed(*new), cas
    if code is None:
        check_update(*arguments)
    else:
        assert refusal(check_update, *arguments) == code


def response(item: Item) -> dict[bytes, BValue]:
    values: dict[bytes, BValue] = {b"v": item.value}
    if item.key is not None:
        values |= {b"k": item.key, b"sig": item.signature, b"seq": item.seq}
    return values


def test_a_response_gives_the_item_that_was_asked_for() -> None:
    for item in (immutable(HELLO), signed(HELLO, 3)):
        assert from_response(item.target, response(item)) == item
        assert from_response(bytes(20), response(item)) is None
    salted = signed(HELLO, 3, b"salt")
    assert from_response(salted.target, response(salted), b"salt") == salted
    assert from_response(salted.target, response(salted)) is None


@pytest.mark.parametrize(
    "change",
    [
        {b"v": b"other"},
        {b"seq": 4},
        {b"seq": b"3"},
        {b"sig": bytes(64)},
        {b"sig": b""},
        {b"sig": 5},
        {b"k": KEY},
        {b"k": [PUBLIC]},
        {b"v": b"x" * 1_001},
        {b"seq": 2**70},
    ],
)
def test_a_response_with_a_wrong_part_gives_nothing(change: dict[bytes, BValue]) -> None:
    item = signed(HELLO, 3)
    assert from_response(item.target, response(item) | change) is None


def test_a_response_without_a_value_gives_nothing() -> None:
    assert from_response(bytes(20), {b"k": PUBLIC, b"sig": bytes(64), b"seq": 1}) is None
