"""Answers KRPC queries (BEP 5, BEP 44): from a query, its sender and the time to a datagram.

All KRPC errors that we send are decided here. A querier at another host is told no loopback address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from grape.dht import bencoding
from grape.dht import items as bep44
from grape.dht import messages as krpc
from grape.dht.addresses import is_loopback
from grape.dht.bencoding import BValue
from grape.dht.compact import NODE_BYTES, Address, encode_peer, encode_value
from grape.dht.counts import ByMethod
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.messages import INVALID_SIGNATURE, METHOD_UNKNOWN, PROTOCOL_ERROR, SERVER_ERROR, Query
from grape.dht.nodeid import ID_BYTES, cached_position
from grape.dht.routing import RoutingTable
from grape.dht.signature_budget import SignatureBudget
from grape.dht.tokens import Tokens
from grape.dht.withdrawals import Withdrawals

MAX_REPLY_BYTES = 1_024
# An item of the largest size that BEP 44 allows does not fit into MAX_REPLY_BYTES; it is sent without nodes.
MAX_ITEM_REPLY_BYTES = 1_400
MAX_VALUES = 100
VALUE_BYTES = 8
# The first bytes of an entry of a ``values`` list with a loopback address.
LOOPBACK_VALUE = b"6:\x7f"
# As ``is_loopback`` tests a querier; without a call: two of them would be felt in each answer.
LOOPBACK_START = "127."
# The bytes of a reply without its values, its nodes and its transaction id.
FRAME_BYTES = 116
# The bytes of a mutable item's members without their contents.
ITEM_FRAME_BYTES = 60
# The limit of a reply's size in queries' sizes: the query's source address may be forged.
MAX_AMPLIFICATION = 15
# The reference takes keys of any length; a Grenache client's longest is bounded by its HTTP payload.
MAX_KEY_BYTES = 8_192
# An age above a day is ignored.
MAX_AGE_MILLISECONDS = 86_400_000

T = TypeVar("T")


class Sample(Protocol):
    """Draws ``k`` members at random, as ``random.sample`` does."""

    def __call__(self, population: Sequence[T], k: int, /) -> list[T]:
        """Returns ``k`` members of ``population`` in random order."""


class Peers(Protocol):
    """Stores the peers that other nodes announce to us."""

    def announce(
        self, key: bytes, peer: Address, now: float, announcer: Address | None = None, age: float = 0.0
    ) -> None:
        """Stores ``peer``, which ``announcer`` announced ``age`` seconds before ``now``."""

    def sample(self, key: bytes, count: int, now: float, sample: Sample) -> list[Address]:
        """Draws at most ``count`` live peers of ``key`` in random order."""


class Items(Protocol):
    """Stores the items that other nodes put to us."""

    def get(self, target: bytes) -> Item | None:
        """Returns the item under ``target``, if there is one."""

    def put(self, item: Item, host: str) -> None:
        """Stores ``item``, which came from the IP address ``host``, in place of what its target held."""


class Responder:
    """Answers queries from a routing table, tokens and the stores of peers and items.

    ``sample(population, count)`` draws at random; ``on_announce(key, peer)`` is called for every announced peer;
    ``refusal()`` returns why no item can be stored now, None if one can; ``own_host()`` the IPv4 address that a querier
    at another host is told in place of a loopback peer's, None if it is told no such peer. Without ``withdrawals`` the
    query that withdraws a peer is unknown.
    """

    def __init__(
        self,
        table: RoutingTable,
        tokens: Tokens,
        peers: Peers,
        items: Items,
        sample: Sample,
        on_announce: Callable[[bytes, Address], object],
        refusal: Callable[[], str | None] = lambda: None,
        own_host: Callable[[], str | None] = lambda: None,
        withdrawals: Withdrawals | None = None,
    ) -> None:
        self._table = table
        self._tokens = tokens
        self._peers = peers
        self._items = items
        self._sample = sample
        self._on_announce = on_announce
        self.signature_budget = SignatureBudget()
        self._refusal = refusal
        self._own_host = own_host
        #: The queries received.
        self.received = ByMethod()
        self._methods: dict[bytes, Callable[[Query, Address, float], bytes]] = {
            b"ping": self._ping,
            b"find_node": self._find_node,
            b"get_peers": self._get_peers,
            b"announce_peer": self._announce_peer,
            b"get": self._get,
            b"put": self._put,
        }
        self._withdrawals = withdrawals
        # Its entries: empty most of the time.
        self._withdrawn = withdrawals.entries if withdrawals is not None else {}
        if withdrawals is not None:
            self._methods[b"unannounce_peer"] = self._unannounce_peer

    def answer(self, query: Query, address: Address, now: float) -> bytes | None:
        """Returns the datagram to send back to ``address``; ``None`` if the query makes it too large to send.

        Raises RemoteProtocolError, with the code to answer, for a query that cannot be served.
        """
        method = self._methods.get(query.method)
        if method is None:
            self.received.count(query.method)
            raise RemoteProtocolError(METHOD_UNKNOWN, "method unknown", query.transaction_id)
        try:
            members = method(query, address, now)
        except RemoteProtocolError as error:
            error.transaction_id = query.transaction_id
            raise
        datagram = krpc.encode_answer(query.transaction_id, self._table.own_id, members, encode_peer(address))
        # Only an item may exceed MAX_REPLY_BYTES.
        limit = MAX_ITEM_REPLY_BYTES if query.method == b"get" else MAX_REPLY_BYTES
        size = len(datagram)
        return datagram if size <= limit and size <= MAX_AMPLIFICATION * query.size else None

    # Each method returns the members of ``r`` that follow ``id``, bencoded and in order, not a dictionary: an item is
    # sent as it is stored (to decode and encode a nest of lists takes 50 us), and a ping takes 0.2 us instead of 0.6.

    def _ping(self, query: Query, address: Address, now: float) -> bytes:
        self.received.ping += 1
        return b""

    def _find_node(self, query: Query, address: Address, now: float) -> bytes:
        self.received.find_node += 1
        return self._nodes(_key(query, b"target"), _budget(query), address)

    def has_peers(self, key: bytes, now: float) -> bool:
        """Returns True if the store holds a live peer of ``key``."""
        return bool(self._peers.sample(key, 1, now, self._sample))

    def _get_peers(self, query: Query, address: Address, now: float) -> bytes:
        self.received.get_peers += 1
        key = _key(query, b"info_hash")
        budget = _budget(query)
        token = self._tokens.issue(address[0], now)
        most = budget // VALUE_BYTES
        # Not by min(), which takes 0.05 us.
        peers = self._peers.sample(key, most if most < MAX_VALUES else MAX_VALUES, now, self._sample)
        nodes = self._nodes(key, budget - len(peers) * VALUE_BYTES, address)
        if not peers:
            return b"%b5:token%d:%b" % (nodes, len(token), token)
        values = b"".join(map(encode_value, peers))
        # Searches of all values, the cheapest first: a test of each peer would take 5 us for a hundred.
        if 127 in values and address[0][:4] != LOOPBACK_START and LOOPBACK_VALUE in values:
            values = b"".join(map(encode_value, self._elsewhere(peers)))
            if not values:
                return b"%b5:token%d:%b" % (nodes, len(token), token)
        return b"%b5:token%d:%b6:valuesl%be" % (nodes, len(token), token, values)

    def _elsewhere(self, peers: Sequence[Address]) -> Iterable[Address]:
        """Returns the peers that another host can reach, each once: no loopback address is among them."""
        own = self._own_host()
        told = ((own, port) if is_loopback(host) else (host, port) for host, port in peers)
        return dict.fromkeys((host, port) for host, port in told if host is not None)

    def _announce_peer(self, query: Query, address: Address, now: float) -> bytes:
        self.received.announce_peer += 1
        key = _key(query, b"info_hash")
        # As _peer and _seconds do it, with two calls less: an announce is sent to 20 nodes.
        port = address[1] if _truthy(query.arguments.get(b"implied_port")) else query.arguments.get(b"port")
        self._check_token(query, address, now)
        if not isinstance(port, int) or not 0 < port < 65_536:
            raise RemoteProtocolError(PROTOCOL_ERROR, "`announce_peer` missing required `a.port` field")
        peer = (address[0], port)
        told = query.arguments.get(b"age", 0)
        age = told / 1000 if isinstance(told, int) and 0 < told < MAX_AGE_MILLISECONDS else 0.0
        if self._withdrawn and self._is_withdrawn(query, key, peer, now, age):
            return b""
        self._peers.announce(key, peer, now, address, age)
        self._on_announce(key, peer)
        return b""

    def _is_withdrawn(self, query: Query, key: bytes, peer: Address, now: float, age: float) -> bool:
        """Returns True if an announce is older than the withdrawal of its peer, which ends if it is not."""
        assert self._withdrawals is not None
        # An announce that asks for a short life is younger than its age, which says how much of the life is left.
        made_ago = query.arguments.get(b"made_ago")
        return self._withdrawals.refuses(key, peer, now, age if made_ago is None else min(_seconds(made_ago), age))

    def _unannounce_peer(self, query: Query, address: Address, now: float) -> bytes:
        self.received.unannounce_peer += 1
        assert self._withdrawals is not None
        key = _key(query, b"info_hash")
        peer = self._peer(query, address, now)
        self._withdrawals.withdraw(key, peer, now, _seconds(query.arguments.get(b"age", 0)), address)
        return b""

    def _peer(self, query: Query, address: Address, now: float) -> Address:
        """Returns the peer that a query with a token is about: the sender's IP address and a port."""
        port = address[1] if _truthy(query.arguments.get(b"implied_port")) else query.arguments.get(b"port")
        self._check_token(query, address, now)
        if not isinstance(port, int) or not 0 < port < 65_536:
            raise RemoteProtocolError(PROTOCOL_ERROR, f"`{query.method.decode()}` missing required `a.port` field")
        return address[0], port

    def _get(self, query: Query, address: Address, now: float) -> bytes:
        self.received.get += 1
        target = _key(query, b"target")
        token = self._tokens.issue(address[0], now)
        item = self._items.get(target)
        if item is None:
            return b"%b5:token%d:%b" % (self._nodes(target, _budget(query), address), len(token), token)
        left = _budget(query) - len(item.raw) - len(item.signature) - len(item.key or b"") - ITEM_FRAME_BYTES
        nodes = self._nodes(target, left, address) if left >= NODE_BYTES else b""
        if item.key is None:
            return b"%b5:token%d:%b1:v%b" % (nodes, len(token), token, item.raw)
        known_seq = query.arguments.get(b"seq")
        if isinstance(known_seq, int) and item.seq <= known_seq:
            return b"%b3:seqi%de5:token%d:%b" % (nodes, item.seq, len(token), token)
        return b"1:k32:%b%b3:seqi%de3:sig64:%b5:token%d:%b1:v%b" % (
            item.key, nodes, item.seq, item.signature, len(token), token, item.raw
        )  # fmt: skip

    def _put(self, query: Query, address: Address, now: float) -> bytes:
        self.received.put += 1
        arguments = query.arguments
        if not isinstance(arguments.get(b"id"), bytes):
            raise RemoteProtocolError(PROTOCOL_ERROR, "`put` missing required `a.id` field")
        if b"v" not in arguments:
            raise RemoteProtocolError(PROTOCOL_ERROR, "`put` missing required `a.v` field")
        self._check_token(query, address, now)
        problem = self._refusal()
        if problem is not None:
            raise not_durable(problem)
        if not query.canonical:
            # BEP 44: a value that is stored under its hash must be in canonical form.
            raise RemoteProtocolError(PROTOCOL_ERROR, "not in canonical bencoding")
        value = arguments[b"v"]
        if b"k" not in arguments and b"sig" not in arguments:
            self._items.put(bep44.immutable(value), address[0])
            return b""
        item = _mutable_item(value, arguments)
        stored = self._items.get(item.target)
        # An item that is put again unchanged was verified before.
        if item != stored:
            if not self.signature_budget.is_signed(item, address[0], now):
                raise RemoteProtocolError(INVALID_SIGNATURE, "invalid signature")
            if stored is not None:
                cas = arguments.get(b"cas")
                bep44.check_update(stored, item, cas if isinstance(cas, int) else None)
        self._items.put(item, address[0])
        return b""

    def _check_token(self, query: Query, address: Address, now: float) -> None:
        token = query.arguments.get(b"token")
        if not isinstance(token, bytes):
            raise RemoteProtocolError(PROTOCOL_ERROR, f"`{query.method.decode()}` missing required `a.token` field")
        if not self._tokens.accepts(token, address[0], now):
            raise RemoteProtocolError(PROTOCOL_ERROR, f"cannot `{query.method.decode()}` with bad token")

    def _nodes(self, key: bytes, size: int, asker: Address) -> bytes:
        """Returns the member ``nodes``: the contacts closest to ``key`` that fit into ``size`` bytes, 20 at most."""
        table, place = self._table, cached_position(key[:ID_BYTES])
        if table.loopback_contacts and asker[0][:4] != LOOPBACK_START:
            nodes = table.compact_closest_elsewhere(place, size // NODE_BYTES)
        else:
            nodes = table.compact_closest(place, size // NODE_BYTES)
        return b"5:nodes%d:%b" % (len(nodes), nodes)


def not_durable(problem: str, transaction_id: BValue | None = None) -> RemoteProtocolError:
    """Returns the error for a put that could not be stored durably because of ``problem``."""
    return RemoteProtocolError(SERVER_ERROR, f"the item cannot be kept: {problem}", transaction_id)


def _budget(query: Query) -> int:
    """Returns how many bytes of values and nodes a reply may hold, within MAX_AMPLIFICATION of its query."""
    transaction_id = query.transaction_id
    if isinstance(transaction_id, bytes):
        long = len(transaction_id)
    else:
        long = 0 if transaction_id is None else len(bencoding.encode(transaction_id))
    limit = MAX_AMPLIFICATION * query.size
    left = (limit if limit < MAX_REPLY_BYTES else MAX_REPLY_BYTES) - FRAME_BYTES - long
    return left if left > 0 else 0


def _key(query: Query, field: bytes) -> bytes:
    key = query.arguments.get(field)
    if not isinstance(key, bytes) or not key:
        method, name = query.method.decode(), field.decode()
        raise RemoteProtocolError(PROTOCOL_ERROR, f"`{method}` missing required `a.{name}` field")
    if len(key) > MAX_KEY_BYTES:
        raise RemoteProtocolError(PROTOCOL_ERROR, f"`a.{field.decode()}` is too long")
    return key


def _mutable_item(value: BValue, arguments: dict[bytes, BValue]) -> Item:
    key, signature = arguments.get(b"k"), arguments.get(b"sig")
    seq, salt = arguments.get(b"seq", 0), arguments.get(b"salt", b"")
    if not isinstance(key, bytes) or not isinstance(signature, bytes):
        raise RemoteProtocolError(PROTOCOL_ERROR, "`put` takes `a.k` and `a.sig` together")
    if not isinstance(seq, int) or not isinstance(salt, bytes):
        raise RemoteProtocolError(PROTOCOL_ERROR, "`a.seq` or `a.salt` of a wrong type")
    return bep44.mutable(value, key, signature, seq, salt)


def _seconds(age: BValue) -> float:
    """Returns an ``age`` in seconds; 0 for one that is no age."""
    return age / 1000 if isinstance(age, int) and 0 < age < MAX_AGE_MILLISECONDS else 0.0


def _truthy(flag: BValue | None) -> bool:
    return flag not in (None, 0, b"", [], {})
