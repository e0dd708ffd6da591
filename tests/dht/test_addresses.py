"""grape.dht.addresses: the rules of the two profiles, and their effect on tables and lookups."""

from __future__ import annotations

import random

import pytest

from grape.dht.addresses import AddressRules, PrivateRules, PublicRules, scope
from grape.dht.bep42 import secure_id
from grape.dht.lookup import Lookup
from grape.dht.routing import Listed, RoutingTable

OWN = b"\0" * 20


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("0.1.2.3", "unusable"),
        ("224.0.0.1", "unusable"),
        ("255.255.255.255", "unusable"),
        ("127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("192.168.1.1", "private"),
        ("169.254.1.1", "private"),
        ("8.8.8.8", "global"),
    ],
)
def test_scope_of_each_range(host: str, where: str) -> None:
    assert scope(host) == where
    assert PrivateRules().is_usable(host) == (where != "unusable")


@pytest.mark.parametrize("rules", [PrivateRules(), PublicRules()])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.200.1.1"])
def test_loopback_is_used_only_if_loopback_names_it_or_queries_us(rules: AddressRules, host: str) -> None:
    assert rules.is_usable(host)
    assert rules.is_usable(host, "127.0.0.2")
    for elsewhere in ("10.0.0.1", "169.254.1.1", "8.8.8.8"):
        assert not rules.is_usable(host, elsewhere)


def test_private_rules_use_addresses_of_other_kinds_whoever_names_them() -> None:
    for host in ("10.0.0.1", "192.168.1.1", "8.8.8.8"):
        for told_by in ("127.0.0.1", "10.0.0.9", "9.9.9.9"):
            assert PrivateRules().is_usable(host, told_by)


def test_public_rules_use_near_addresses_only_if_a_near_node_names_them() -> None:
    rules = PublicRules()
    assert rules.is_usable("8.8.8.8", "127.0.0.1")
    assert rules.is_usable("127.0.0.1", "127.0.0.2")
    assert not rules.is_usable("127.0.0.1", "8.8.8.8")
    assert not rules.is_usable("10.0.0.1", "127.0.0.1")
    assert not rules.is_usable("224.0.0.1", None)


def test_private_table_lists_many_nodes_of_one_host() -> None:
    table = RoutingTable(OWN)
    for port in range(1, 21):
        assert table.heard(bytes([255, port]) + bytes(18), ("127.0.0.1", port), 0.0) is Listed.NEW


def test_public_table_lists_one_node_of_an_address_and_of_a_network() -> None:
    table = RoutingTable(OWN, rules=PublicRules())
    assert table.heard(b"\xff" * 20, ("8.8.8.8", 1), 0.0) is Listed.NEW
    assert table.heard(b"\xfe" * 20, ("8.8.8.8", 2), 0.0) is Listed.REFUSED
    assert table.heard(b"\xfd" * 20, ("8.8.8.9", 1), 0.0) is Listed.REFUSED
    assert table.heard(b"\xfc" * 20, ("8.8.9.9", 1), 0.0) is Listed.NEW


def test_public_table_replaces_an_insecure_id_by_a_secure_one() -> None:
    table = RoutingTable(OWN, rules=PublicRules())
    for n in range(20):
        table.heard(bytes([128 + n]) + bytes(19), (f"1.2.{n}.4", 1), 0.0)
    dice = random.Random(3)
    host = next(h for h in (f"5.6.{n}.8" for n in range(256)) if secure_id(h, dice.randbytes, 0)[0] >= 128)
    assert table.heard(b"\xff" * 20, ("9.9.9.9", 1), 0.0) is Listed.REPLACEMENT
    assert table.heard(secure_id(host, dice.randbytes, 0), (host, 1), 0.0) is Listed.NEW
    assert len(table) == 20


def test_public_lookup_queries_one_node_of_a_network() -> None:
    lookup = Lookup(b"k" * 20, OWN, one_per_network=True)
    for n in range(1, 50):
        lookup.add(bytes([n]) + bytes(19), ("8.8.8." + str(n), 1))
    assert len(lookup.ask()) == 1
