"""grape.dht.signature_budget: a flood of bad signatures costs a bounded time and leaves other hosts alone."""

from __future__ import annotations

import random
from contextlib import suppress
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item, mutable, signature_input
from grape.dht.messages import Query
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.signature_budget import ALL_BAD_PER_SECOND, BAD_PER_SECOND, SignatureBudget
from grape.dht.tokens import Tokens
from grape.store import MemoryItems, MemoryPeers

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
ATTACKER = "10.6.6.6"
HONEST = "10.0.0.1"


def signed(seq: int) -> Item:
    return mutable(b"v", PUBLIC, SIGNER.sign(signature_input(b"1:v", seq, b"")), seq)


def forged(seq: int) -> Item:
    return mutable(b"v", PUBLIC, bytes(64), seq)


def flood(budget: SignatureBudget, host: str, now: float, count: int) -> int:
    """Returns how many of ``count`` bad signatures are verified."""
    before = budget.refused
    for seq in range(count):
        with suppress(RemoteProtocolError):
            assert not budget.is_signed(forged(seq), host, now)
    return count - (budget.refused - before)


def test_budget_verifies_bad_signatures_of_one_host_at_a_steady_rate() -> None:
    budget = SignatureBudget()
    assert flood(budget, ATTACKER, 0.0, 1_000) == BAD_PER_SECOND
    assert flood(budget, ATTACKER, 0.5, 1_000) == BAD_PER_SECOND // 2
    # Another host is not affected.
    assert budget.is_signed(signed(1), HONEST, 0.5)


def test_budget_bounds_bad_signatures_of_all_hosts_and_bans_none() -> None:
    budget = SignatureBudget()
    hosts = [f"10.6.6.{n}" for n in range(20)]
    assert sum(flood(budget, host, 0.0, 300) for host in hosts) == ALL_BAD_PER_SECOND
    assert flood(budget, hosts[-1], 1.0, 300) == BAD_PER_SECOND


def test_budget_allows_a_thousand_good_signatures_a_second_of_one_host() -> None:
    budget = SignatureBudget()
    item = signed(1)
    for n in range(3_000):
        assert budget.is_signed(item, HONEST, n / 1_500)
    assert budget.refused == 0


class Node:
    """Holds a responder that items are put to, and counts the signatures that it verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        dice = random.Random(1)
        self.tokens = Tokens(dice.randbytes, 0.0)
        self.items = MemoryItems()
        self.verified = 0
        table, peers = RoutingTable(dice.randbytes(20)), MemoryPeers(240)
        self.responder = Responder(table, self.tokens, peers, self.items, dice.sample, lambda key, peer: None)
        really = ed25519.Ed25519PublicKey.from_public_bytes

        def counted(key: bytes) -> ed25519.Ed25519PublicKey:
            self.verified += 1
            return really(key)

        # Where each signature is verified: a compiled module does not see what stands in for a function of another one.
        monkeypatch.setattr(ed25519, "Ed25519PublicKey", SimpleNamespace(from_public_bytes=counted))

    def put(self, item: Item, host: str, now: float = 0.0) -> int:
        """Puts an item; returns the code of the error, 0 for none."""
        assert item.key is not None
        address: Address = (host, 1)
        token = self.tokens.issue(host, now)
        arguments: dict[bytes, BValue] = {b"id": b"i" * 20, b"token": token, b"v": item.value}
        arguments |= {b"k": item.key, b"sig": item.signature, b"seq": item.seq}
        try:
            assert self.responder.answer(Query(b"put", arguments, b"aa"), address, now) is not None
        except RemoteProtocolError as error:
            return error.code
        return 0


def test_put_refuses_a_flood_of_bad_signatures_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch)
    codes = [node.put(forged(seq), ATTACKER) for seq in range(2_000)]
    assert codes == [krpc.INVALID_SIGNATURE] * BAD_PER_SECOND + [krpc.SERVER_ERROR] * (2_000 - BAD_PER_SECOND)
    assert node.verified == BAD_PER_SECOND
    assert node.responder.signature_budget.refused == 2_000 - BAD_PER_SECOND
    assert node.put(signed(1), HONEST) == 0
    # Some time later the host may put again.
    assert node.put(signed(2), ATTACKER, 0.1) == 0


def test_put_of_an_unchanged_item_verifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch)
    item = signed(5)
    assert node.put(item, HONEST) == 0
    assert node.verified == 1
    for seq in range(300):
        node.put(forged(seq), HONEST)
    verified = node.verified
    assert [node.put(item, HONEST) for _ in range(100)] == [0] * 100
    assert node.verified == verified
    # An item with another signature is verified.
    assert node.put(forged(5), "10.0.0.2") == krpc.INVALID_SIGNATURE
