"""grape.dht.responder: the answers to all queries, and the errors for invalid ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grape.dht import bencoding
from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, encode_peer
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import signature_input
from grape.dht.messages import Query
from grape.dht.responder import MAX_ITEM_REPLY_BYTES, MAX_KEY_BYTES, MAX_REPLY_BYTES, Responder
from grape.dht.routing import K, RoutingTable
from grape.dht.tokens import Tokens
from grape.store import MemoryItems, MemoryPeers

ASKER = ("10.0.0.1", 4_321)
ID = b"i" * 20
KEY = b"k" * 20
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class Node:
    """Holds a responder and the table, tokens and stores that it answers from."""

    def __init__(self, contacts: int = 0) -> None:
        self.dice = random.Random(1)
        self.table = RoutingTable(self.dice.randbytes(20))
        self.tokens = Tokens(self.dice.randbytes, 0.0)
        self.peers = MemoryPeers(240.0)
        self.items = MemoryItems()
        self.announced: list[tuple[bytes, Address]] = []
        self.responder = Responder(
            self.table,
            self.tokens,
            self.peers,
            self.items,
            self.dice.sample,
            lambda key, peer: self.announced.append((key, peer)),
        )
        for n in range(contacts):
            self.table.heard(self.dice.randbytes(20), (f"10.1.0.{n}", 20_001), 0.0)

    def answer(self, method: str, t: BValue | None = b"aa", **arguments: BValue) -> bytes:
        """Returns the datagram that answers a query."""
        named: dict[bytes, BValue] = {b"id": ID, **{name.encode(): value for name, value in arguments.items()}}
        answer = self.responder.answer(Query(method.encode(), named, t), ASKER, 0.0)
        assert answer is not None
        return answer

    def ask(self, method: str, **arguments: BValue) -> dict[bytes, Any]:
        """Returns the members of ``r`` without our id."""
        message = krpc.decode(self.answer(method, **arguments))
        assert isinstance(message, krpc.Response)
        values = dict(message.values)
        assert values.pop(b"id") == self.table.own_id
        return values

    def refusal(self, method: str, /, *without: str, **arguments: BValue) -> tuple[int, str]:
        """Returns code and text of the error that a query raises; checks its transaction id."""
        named: dict[bytes, BValue] = {b"id": ID, **{name.encode(): value for name, value in arguments.items()}}
        for name in without:
            del named[name.encode()]
        with pytest.raises(RemoteProtocolError) as caught:
            self.responder.answer(Query(method.encode(), named, b"zz"), ASKER, 0.0)
        assert caught.value.transaction_id == b"zz"
        assert caught.value.answerable
        return caught.value.code, caught.value.message

    @property
    def token(self) -> bytes:
        return self.tokens.issue(ASKER[0], 0.0)


def signed(value: BValue, seq: int = 1, salt: bytes = b"") -> dict[str, BValue]:
    """Returns the arguments of a mutable put without the token."""
    signature = SIGNER.sign(signature_input(bencoding.encode(value), seq, salt))
    arguments: dict[str, BValue] = {"v": value, "k": PUBLIC, "sig": signature, "seq": seq}
    return arguments | ({"salt": salt} if salt else {})


# ping, find_node


def test_ping_is_answered_with_our_id() -> None:
    assert Node().ask("ping") == {}


@pytest.mark.parametrize("t", [b"", b"aa", b"0123456789", 5, [b"a"], {b"a": 1}, None])
def test_answer_returns_a_transaction_id_of_any_type(t: BValue | None) -> None:
    assert krpc.decode(Node().answer("ping", t)).transaction_id == t


def test_answer_carries_the_querier_and_our_version() -> None:
    assert b"2:ip6:" + encode_peer(ASKER) in Node().answer("ping")
    assert b"1:v4:GP" in Node().answer("ping")


def test_find_node_returns_the_closest_nearest_first_and_at_most_20() -> None:
    node = Node(60)
    expected = b"".join(contact.compact for contact in node.table.closest(int.from_bytes(KEY, "big"), K))
    assert node.ask("find_node", target=KEY) == {b"nodes": expected}
    assert len(expected) == 20 * 26
    assert Node().ask("find_node", target=KEY) == {b"nodes": b""}


def test_nodes_leave_out_contacts_that_failed_last() -> None:
    node = Node(3)
    doubtful = next(iter(node.table))
    node.table.failed(doubtful.address, 1.0, 3.0)
    for method, field in (("find_node", "target"), ("get_peers", "info_hash"), ("get", "target")):
        nodes = node.ask(method, **{field: KEY})[b"nodes"]
        assert len(nodes) == 2 * 26
        assert doubtful.compact not in nodes


# get_peers, announce_peer


def test_get_peers_returns_nodes_a_token_and_any_values() -> None:
    node = Node(3)
    nodes = node.ask("find_node", target=KEY)[b"nodes"]
    assert node.ask("get_peers", info_hash=KEY) == {b"nodes": nodes, b"token": node.token}
    node.ask("announce_peer", info_hash=KEY, port=80, token=node.token)
    values = [encode_peer((ASKER[0], 80))]
    assert node.ask("get_peers", info_hash=KEY) == {b"nodes": nodes, b"token": node.token, b"values": values}


@pytest.mark.parametrize("key", [b"q", b"rest:util:net", b"z" * 200, bytes(MAX_KEY_BYTES)], ids=len)
def test_announce_peer_takes_keys_of_many_lengths(key: bytes) -> None:
    node = Node(30)
    node.ask("announce_peer", info_hash=key, port=80, token=node.token)
    assert node.ask("get_peers", info_hash=key)[b"values"] == [encode_peer((ASKER[0], 80))]
    assert node.announced == [(key, (ASKER[0], 80))]


@pytest.mark.parametrize("contacts", [0, 5, 60])
@pytest.mark.parametrize("peers", [1, 50, 99, 100, 101, 500])
@pytest.mark.parametrize("t", [b"aa", b"t" * 100, b"t" * 400])
def test_get_peers_returns_at_most_1024_bytes_100_values_and_20_nodes(contacts: int, peers: int, t: bytes) -> None:
    node = Node(contacts)
    for n in range(peers):
        node.peers.announce(KEY, ("10.2.0.1", 1 + n), 0.0, ("10.2.0.1", n))
    datagram = node.answer("get_peers", t, info_hash=KEY)
    message = krpc.decode(datagram)
    assert isinstance(message, krpc.Response)
    values, nodes = message.values[b"values"], message.values.get(b"nodes", b"")
    assert isinstance(values, list)
    assert isinstance(nodes, bytes)
    assert len(datagram) <= MAX_REPLY_BYTES
    assert len(values) == len({bytes(v) for v in values if isinstance(v, bytes)}) <= min(peers, 100)
    assert len(nodes) <= 20 * 26
    if t == b"aa":
        assert len(values) == min(peers, 100)
        assert len(nodes) >= min(contacts, 4) * 26


def test_answer_is_none_if_the_transaction_id_makes_it_too_large() -> None:
    assert Node().responder.answer(Query(b"ping", {b"id": ID}, b"t" * 2_000), ASKER, 0.0) is None


def test_get_peers_returns_no_expired_peer() -> None:
    node = Node()
    node.ask("announce_peer", info_hash=KEY, port=80, token=node.token)
    query = Query(b"get_peers", {b"id": ID, b"info_hash": KEY}, b"aa")
    for now, known in ((239.0, True), (241.0, False)):
        assert (b"6:values" in (node.responder.answer(query, ASKER, now) or b"")) is known


@pytest.mark.parametrize(("implied", "port"), [(0, 80), (1, ASKER[1]), (b"1", ASKER[1]), (b"", 80), ([], 80)])
def test_announce_peer_takes_an_implied_port_from_the_sender(implied: BValue, port: int) -> None:
    node = Node()
    node.ask("announce_peer", info_hash=KEY, port=80, implied_port=implied, token=node.token)
    assert node.announced == [(KEY, (ASKER[0], port))]


def test_announce_peer_needs_no_port_beside_an_implied_one() -> None:
    node = Node()
    node.ask("announce_peer", info_hash=KEY, implied_port=1, token=node.token)
    assert node.announced == [(KEY, ASKER)]


@pytest.mark.parametrize(
    ("age", "left"), [(0, 240), (100_000, 140), (239_000, 1), (-5, 240), (b"100", 240), (10**9, 240)]
)
def test_announce_peer_takes_an_age(age: BValue, left: float) -> None:
    node = Node()
    node.ask("announce_peer", info_hash=KEY, port=80, token=node.token, age=age)
    assert node.peers.peers(KEY, left - 0.5)
    assert not node.peers.peers(KEY, left + 0.5)


def test_announce_peer_stores_nothing_of_an_expired_age() -> None:
    node = Node()
    node.ask("announce_peer", info_hash=KEY, port=80, token=node.token, age=240_000)
    assert not node.peers.peers(KEY, 0.0)


def test_token_is_valid_for_every_key_and_both_kinds_of_write() -> None:
    node = Node()
    token = node.ask("get_peers", info_hash=KEY)[b"token"]
    assert token == node.ask("get", target=b"t" * 20)[b"token"]
    node.ask("announce_peer", info_hash=b"another", port=80, token=token)
    node.ask("put", v=b"value", token=token)


# get, put


def test_get_returns_an_immutable_item_that_was_put() -> None:
    node = Node(3)
    target = bytes.fromhex("e5f96f6f38320f0f33959cb4d3d656452117aadb")
    nodes = node.ask("find_node", target=target)[b"nodes"]
    assert node.ask("get", target=target) == {b"nodes": nodes, b"token": node.token}
    assert node.ask("put", v=b"Hello World!", token=node.token) == {}
    assert node.ask("get", target=target) == {b"nodes": nodes, b"token": node.token, b"v": b"Hello World!"}


@pytest.mark.parametrize("value", [0, b"", [], {}, {b"__proto__": b"x"}])
def test_put_stores_values_that_the_reference_takes_for_missing(value: BValue) -> None:
    node = Node()
    node.ask("put", v=value, token=node.token)
    assert len(node.items) == 1


def test_get_returns_a_mutable_item_with_key_seq_and_signature_without_salt() -> None:
    node = Node()
    arguments = signed(b"v", 5, b"salt")
    node.ask("put", token=node.token, **arguments)
    (target,) = node.items
    got = node.ask("get", target=target)
    assert got.pop(b"token") == node.token
    assert got.pop(b"nodes", b"") == b""
    assert got == {name.encode(): value for name, value in arguments.items() if name != "salt"}


@pytest.mark.parametrize(("seq", "sent"), [(4, True), (5, False), (6, False), (b"9", True)])
def test_get_leaves_out_the_value_for_a_known_seq(seq: BValue, sent: bool) -> None:
    node = Node()
    node.ask("put", token=node.token, **signed(b"v", 5))
    (target,) = node.items
    got = node.ask("get", target=target, seq=seq)
    assert got[b"seq"] == 5
    assert [name in got for name in (b"v", b"k", b"sig")] == [sent] * 3


def test_put_takes_a_missing_seq_as_0() -> None:
    node = Node()
    arguments = signed(b"v", 0)
    del arguments["seq"]
    node.ask("put", token=node.token, **arguments)
    assert len(node.items) == 1


@pytest.mark.parametrize("value", [bytes(1_000), [bytes(994)]])
def test_get_sends_the_largest_item_alone_in_at_most_1400_bytes(value: BValue) -> None:
    node = Node(60)
    node.ask("put", token=node.token, **signed(value, 2**62, b"s" * 64))
    (target,) = node.items
    datagram = node.answer("get", target=target)
    assert MAX_REPLY_BYTES < len(datagram) <= MAX_ITEM_REPLY_BYTES
    assert b"5:nodes" not in datagram


# Refusals

BAD = b"x" * 8


@pytest.mark.parametrize("method", ["vote", "", "PING", "find_peers", "\x00", "é"])
def test_answer_refuses_an_unknown_method_with_204(method: str) -> None:
    assert Node().refusal(method) == (204, "method unknown")


@pytest.mark.parametrize("wrong", [None, 5, [], {}, b""], ids=str)
@pytest.mark.parametrize(
    ("method", "field"),
    [("find_node", "target"), ("get_peers", "info_hash"), ("get", "target"), ("announce_peer", "info_hash")],
)
def test_answer_refuses_a_missing_or_mistyped_key_with_203(method: str, field: str, wrong: BValue | None) -> None:
    node = Node()
    arguments: dict[str, BValue] = {"token": node.token, "port": 80}
    if wrong is not None:
        arguments[field] = wrong
    assert node.refusal(method, **arguments) == (203, f"`{method}` missing required `a.{field}` field")


def test_answer_refuses_a_long_key_with_203() -> None:
    assert Node().refusal("get_peers", info_hash=bytes(MAX_KEY_BYTES + 1)) == (203, "`a.info_hash` is too long")


@pytest.mark.parametrize("arguments", [{"info_hash": KEY, "port": 80}, {"v": b"v"}], ids=["announce_peer", "put"])
@pytest.mark.parametrize("token", [None, 5, [], BAD, b""], ids=str)
def test_write_refuses_a_wrong_token_with_203(arguments: dict[str, BValue], token: BValue | None) -> None:
    node = Node()
    method = "put" if "v" in arguments else "announce_peer"
    text = f"cannot `{method}` with bad token"
    if not isinstance(token, bytes):
        text = f"`{method}` missing required `a.token` field"
    given: dict[str, BValue] = {} if token is None else {"token": token}
    assert node.refusal(method, **arguments, **given) == (203, text)
    assert not node.announced
    assert not len(node.items)


def test_write_refuses_the_token_of_another_address_with_203() -> None:
    node = Node()
    token = node.tokens.issue("10.0.0.2", 0.0)
    assert node.refusal("put", v=b"v", token=token) == (203, "cannot `put` with bad token")


@pytest.mark.parametrize("port", [None, 0, -1, 65_536, 10**12, b"80", [], {}], ids=str)
def test_announce_peer_refuses_a_missing_or_invalid_port_with_203(port: BValue | None) -> None:
    node = Node()
    given: dict[str, BValue] = {} if port is None else {"port": port}
    text = "`announce_peer` missing required `a.port` field"
    assert node.refusal("announce_peer", info_hash=KEY, token=node.token, **given) == (203, text)
    assert not node.announced


@pytest.mark.parametrize("wrong", [None, 5, []], ids=str)
def test_put_refuses_a_missing_id_with_203(wrong: BValue | None) -> None:
    node = Node()
    text = (203, "`put` missing required `a.id` field")
    if wrong is None:
        assert node.refusal("put", "id", v=b"v", token=node.token) == text
    else:
        assert node.refusal("put", v=b"v", token=node.token, id=wrong) == text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"v": bytes(1_001)}, 205),
        ({"v": {b"a": bytes(1_000)}}, 205),
        ({"sig": bytes(64)}, 206),
        ({"seq": 2}, 206),
        ({"v": b"other"}, 206),
        ({"salt": b"x"}, 206),
        ({"salt": bytes(65)}, 207),
        ({"k": 5}, 203),
        ({"k": b"short"}, 203),
        ({"sig": 5}, 203),
        ({"sig": b"short"}, 203),
        ({"seq": b"1"}, 203),
        ({"seq": 2**63}, 203),
        ({"salt": 5}, 203),
    ],
)
def test_put_refuses_an_invalid_item(changes: dict[str, BValue], code: int) -> None:
    node = Node()
    assert node.refusal("put", **{**signed(b"v"), "token": node.token, **changes})[0] == code
    assert not len(node.items)


def test_put_refuses_a_key_without_signature_and_the_reverse() -> None:
    for without in ("k", "sig"):
        node = Node()
        arguments = signed(b"v")
        del arguments[without]
        assert node.refusal("put", token=node.token, **arguments)[0] == 203


def test_put_refuses_a_missing_value_with_203() -> None:
    node = Node()
    assert node.refusal("put", token=node.token) == (203, "`put` missing required `a.v` field")


def test_put_refuses_an_old_seq_with_302_and_another_cas_with_301() -> None:
    node = Node()
    node.ask("put", token=node.token, **signed(b"v", 5))
    for arguments, code in (
        (signed(b"w", 4), 302),
        (signed(b"w", 5), 302),
        ({**signed(b"w", 6), "cas": 4}, 301),
        ({**signed(b"w", 4), "cas": 4}, 301),
    ):
        assert node.refusal("put", token=node.token, **arguments)[0] == code
    node.ask("put", token=node.token, **signed(b"v", 5))
    node.ask("put", token=node.token, cas=5, **signed(b"w", 6))
    node.ask("put", token=node.token, cas=b"no number", **signed(b"x", 7))


def test_put_refuses_what_is_not_canonical() -> None:
    node = Node()
    query = Query(b"put", {b"id": ID, b"token": node.token, b"v": b"v"}, b"zz", canonical=False)
    with pytest.raises(RemoteProtocolError, match="203 not in canonical bencoding"):
        node.responder.answer(query, ASKER, 0.0)
    assert not len(node.items)
