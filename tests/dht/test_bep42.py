"""grape.dht.bep42: node ids bound to their address."""

from __future__ import annotations

import random

import pytest

from grape.dht.bep42 import crc32c, is_secure, secure_id

# The BEP's own vectors: address, last byte, first three bytes (the last three bits of these are free).
VECTORS = [
    ("124.31.75.21", 1, "5fbfbf"),
    ("21.75.31.124", 86, "5a3ce9"),
    ("65.23.51.170", 22, "a5d432"),
    ("84.124.73.14", 65, "1b0321"),
    ("43.213.53.83", 90, "e56f6c"),
]


def test_crc32c_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(("host", "last", "start"), VECTORS)
def test_secure_ids_match_the_published_vectors(host: str, last: int, start: str) -> None:
    node_id = secure_id(host, random.Random(1).randbytes, last)
    assert node_id[:2] == bytes.fromhex(start)[:2]
    assert node_id[2] & 0xF8 == bytes.fromhex(start)[2] & 0xF8
    assert (len(node_id), node_id[-1]) == (20, last)
    assert is_secure(node_id, host)


def test_secure_id_fits_no_other_address() -> None:
    dice = random.Random(2)
    node_id = secure_id("124.31.75.21", dice.randbytes)
    assert not any(is_secure(node_id, f"{dice.randrange(1, 224)}.{n}.3.4") for n in range(200))
