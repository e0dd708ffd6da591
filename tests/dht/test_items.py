"""grape.dht.items: BEP 44's test vectors, sizes, signatures and updates."""

from __future__ import annotations

import tracemalloc

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from grape.dht import bencoding
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import (
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


def test_immutable_item_has_the_target_of_bep_44() -> None:
    assert immutable(HELLO).target.hex() == IMMUTABLE_TARGET


@pytest.mark.parametrize(("salt", "target", "signature"), MUTABLE_VECTORS)
def test_mutable_items_have_the_targets_and_signatures_of_bep_44(salt: bytes, target: str, signature: str) -> None:
    item = mutable(HELLO, KEY, bytes.fromhex(signature), 1, salt)
    assert item.target.hex() == target
    assert is_signed(item)


def test_signature_input_is_that_of_bep_44() -> None:
    raw = bencoding.encode(HELLO)
    assert signature_input(raw, 1, b"") == b"3:seqi1e1:v12:Hello World!"
    assert signature_input(raw, 1, b"foobar") == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"


def test_signature_is_valid_for_one_key_value_seq_and_salt() -> None:
    good = signed(HELLO, 7, b"salt")
    assert is_signed(good)
    assert not is_signed(mutable(b"other", PUBLIC, good.signature, 7, b"salt"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 8, b"salt"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 7, b"salz"))
    assert not is_signed(mutable(HELLO, PUBLIC, good.signature, 7))
    assert not is_signed(mutable(HELLO, KEY, good.signature, 7, b"salt"))
    assert not is_signed(immutable(HELLO))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_is_signed_returns_false_for_any_random_key_and_signature(key: bytes, signature: bytes) -> None:
    assert not is_signed(mutable(HELLO, key, signature, 1))


def small_order_encodings() -> list[bytes]:
    """Returns every encoding of the eight points of small order on edwards25519 (RFC 8032, 5.1)."""
    p, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    d = -121_665 * pow(121_666, -1, p) % p

    def plus(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        k = d * a[0] * b[0] * a[1] * b[1] % p
        x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, p)
        return x % p, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, p) % p

    def times(n: int, point: tuple[int, int]) -> tuple[int, int]:
        total = (0, 1)
        for bit in bin(n)[2:]:
            total = plus(total, total)
            if bit == "1":
                total = plus(total, point)
        return total

    points: set[tuple[int, int]] = set()
    y = 2
    while len(points) < 8:
        # Any point, multiplied by the order of the large subgroup, has small order.
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        for x in (pow(square, (p + 3) // 8, p), pow(square, (p + 3) // 8, p) * pow(2, (p - 1) // 4, p) % p):
            if x * x % p == square:
                points = {times(n * order, (x, y)) for n in range(8)}
        y += 1
    values = {value for _, y in points for value in (y, y + p) if value < 2**255}
    return [(value | sign << 255).to_bytes(32, "little") for value in sorted(values) for sign in (0, 1)]


SMALL_ORDER = small_order_encodings()


def openssl_accepts(item: Item) -> bool:
    assert item.key is not None
    try:
        message = signature_input(item.raw, item.seq, item.salt)
        Ed25519PublicKey.from_public_bytes(item.key).verify(item.signature, message)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("key", SMALL_ORDER, ids=bytes.hex)
def test_is_signed_refuses_keys_of_small_order(key: bytes) -> None:
    # With such a key a signature made of a point of small order and the scalar 0 fits one message in eight or more.
    items = [mutable(HELLO, key, point + bytes(32), seq) for point in SMALL_ORDER for seq in range(8)]
    assert any(map(openssl_accepts, items))
    assert not any(map(is_signed, items))


@pytest.mark.parametrize("value", [b"x" * 1_000, [b"x" * 993], 0, b"", [], {}])
def test_item_takes_values_of_up_to_a_thousand_bytes(value: BValue) -> None:
    assert immutable(value).value == value
    assert mutable(value, PUBLIC, bytes(64), 1).raw == bencoding.encode(value)


def test_item_of_nested_lists_takes_no_more_memory_than_its_bytes() -> None:
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
def test_item_refuses_larger_values_with_205(value: BValue) -> None:
    assert refusal(immutable, value) == 205
    assert refusal(mutable, value, PUBLIC, bytes(64), 1) == 205


def test_mutable_refuses_parts_of_a_wrong_size() -> None:
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
        # A put whose response was lost is sent again, with the same cas.
        ((b"a", 1), (b"a", 1), 9, None),
    ],
)
def test_check_update_compares_cas_and_seq(
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


def test_from_response_returns_the_item_of_the_target_alone() -> None:
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
def test_from_response_ignores_an_item_with_a_wrong_part(change: dict[bytes, BValue]) -> None:
    item = signed(HELLO, 3)
    assert from_response(item.target, response(item) | change) is None


def test_from_response_returns_none_without_a_value() -> None:
    assert from_response(bytes(20), {b"k": PUBLIC, b"sig": bytes(64), b"seq": 1}) is None
