"""grape.dht.compact: peers and nodes as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.addresses import scope
from grape.dht.bencoding import BValue
from grape.dht.compact import (
    Address,
    decode_nodes,
    decode_peer,
    decode_peers,
    encode_nodes,
    encode_peer,
    is_ipv4,
)
from grape.dht.errors import LocalProtocolError
from tests import strategies

HERE = ("127.0.0.1", 20_001)
COMPACT = b"\x7f\x00\x00\x01\x4e\x21"


def test_peer_is_four_bytes_of_address_and_two_of_port_big_endian() -> None:
    assert encode_peer(HERE) == COMPACT
    assert decode_peer(COMPACT) == HERE


@given(strategies.addresses())
def test_peer_decodes_to_what_was_encoded(address: Address) -> None:
    assert decode_peer(encode_peer(address)) == address
    peers = decode_peers([encode_peer(address)], 9, "127.0.0.1")
    assert peers == ([address] if scope(address[0]) != "unusable" else [])


@given(st.lists(st.tuples(strategies.node_ids(), strategies.addresses()), max_size=20), st.binary(max_size=25))
def test_nodes_decode_to_what_was_encoded_without_a_broken_tail(
    nodes: list[tuple[bytes, Address]], tail: bytes
) -> None:
    assert decode_nodes(encode_nodes(nodes) + tail) == set(nodes)


@pytest.mark.parametrize(
    "address",
    [
        ("", 1),
        ("localhost", 1),
        ("1.2.3", 1),
        ("1.2.3.4.5", 1),
        ("1.2.3.256", 1),
        ("1.2.3.-4", 1),
        ("::1", 1),
        ("1.2.3.4", 65_536),
        ("1.2.3.4", -1),
    ],
)
def test_encode_peer_refuses_what_is_not_an_ipv4_address_and_port(address: Address) -> None:
    with pytest.raises(LocalProtocolError):
        encode_peer(address)


def test_is_ipv4_takes_dotted_addresses_alone() -> None:
    assert is_ipv4("0.0.0.0")
    assert not is_ipv4("example.org")
    assert not is_ipv4("1.2.3.4:5")


def test_decode_peers_skips_port_0_and_wrong_sizes() -> None:
    values: list[BValue] = [bytes(6), COMPACT[:5], COMPACT + b"x", 7, [COMPACT], COMPACT, b""]
    assert decode_peers(values, 9, "127.0.0.1") == [HERE]


@pytest.mark.parametrize(
    ("told_by", "hosts"),
    [
        ("127.0.0.1", ["10.0.0.1", "127.0.0.1", "127.9.9.9"]),
        ("127.3.4.5", ["10.0.0.1", "127.0.0.1", "127.9.9.9"]),
        ("10.0.0.9", ["10.0.0.1"]),
        ("8.8.8.8", ["10.0.0.1"]),
    ],
)
def test_decode_peers_skips_loopback_that_another_host_told(told_by: str, hosts: list[str]) -> None:
    values: list[BValue] = [encode_peer((host, 1)) for host in ("10.0.0.1", "127.0.0.1", "127.9.9.9")]
    assert decode_peers(values, 9, told_by) == [(host, 1) for host in hosts]


def test_decode_nodes_skips_port_0() -> None:
    assert decode_nodes(bytes(26) + b"n" * 20 + COMPACT) == {(b"n" * 20, HERE)}


@given(strategies.bvalues() | st.none())
def test_decode_peers_and_nodes_skip_values_of_any_type(value: BValue | None) -> None:
    assert all(0 < port < 65_536 for _, port in decode_peers(value, 9, "127.0.0.1"))
    nodes = decode_nodes(value) if isinstance(value, bytes) else ()
    assert all(len(node_id) == 20 and 0 < port < 65_536 for node_id, (_, port) in nodes)
