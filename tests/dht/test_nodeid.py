"""grape.dht.nodeid: positions of node ids and keys, and the distance between them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.nodeid import ID_BITS, ID_BYTES, cached_position, distance, position, random_id_sharing, shared_bits
from tests import strategies


@given(strategies.node_ids(), strategies.node_ids())
def test_distance_is_symmetric_and_zero_only_to_oneself(a: bytes, b: bytes) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)


@given(strategies.node_ids(), strategies.node_ids(), strategies.keys())
def test_distance_to_a_short_key_compares_its_bytes_alone(a: bytes, b: bytes, key: bytes) -> None:
    def reference(node_id: bytes) -> bytes:
        return bytes(x ^ y for x, y in zip(node_id, key, strict=False))

    if reference(a) != reference(b):
        assert (distance(a, key) < distance(b, key)) == (reference(a) < reference(b))


@given(strategies.node_ids(), st.binary(min_size=20, max_size=64))
def test_distance_to_a_long_key_compares_its_first_twenty_bytes(node_id: bytes, key: bytes) -> None:
    assert distance(node_id, key) == distance(node_id, key[:20])


def test_distance_orders_ties_under_a_short_key_by_the_further_bytes() -> None:
    near, far = b"ab" + b"\0" * 18, b"ab" + b"\xff" * 18
    assert distance(near, b"ab") < distance(far, b"ab")
    assert distance(near, b"ab") == 0
    assert position(b"ab") == position(near)


def test_position_has_the_first_byte_as_the_most_significant() -> None:
    assert position(b"\x80") == 1 << 159
    assert position(bytes(19) + b"\x01") == 1
    assert position(b"") == 0


@given(st.binary(max_size=40))
def test_cached_position_of_the_first_bytes_is_that_of_the_key(key: bytes) -> None:
    assert cached_position(key[:ID_BYTES]) == position(key)


def test_shared_bits_are_counted_from_the_front() -> None:
    assert shared_bits(0, 0) == ID_BITS
    assert shared_bits(0, 1 << 159) == 0
    assert shared_bits(0, 1) == 159


@given(strategies.node_ids(), st.integers(0, ID_BITS), st.randoms(use_true_random=False))
def test_random_id_shares_the_given_number_of_bits(own: bytes, bits: int, dice: random.Random) -> None:
    place = position(own)
    made = random_id_sharing(place, bits, dice.randbytes)
    assert len(made) == 20
    assert shared_bits(place, position(made)) == bits


@pytest.mark.parametrize("bits", [0, 8, 159])
def test_random_ids_are_spread_over_their_bucket(bits: int) -> None:
    dice = random.Random(1)
    made = {random_id_sharing(position(b"x" * 20), bits, dice.randbytes) for _ in range(50)}
    assert len(made) == (1 if bits == 159 else 50)
