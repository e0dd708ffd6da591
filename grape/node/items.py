"""Puts and gets items, small values stored under a hash (BEP 44), over one DHT socket."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from grape.config import Config
from grape.dht import items as bep44
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.nodeid import ID_BYTES
from grape.encoding import Value, to_bencode
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome
from grape.node.errors import accepted_by, may_keep_alone, raise_overloaded
from grape.node.first_join import FirstJoin
from grape.node.republish import OwnItems
from grape.protocol import LOOKUP_AND_WRITE_SECONDS, LOOKUP_SECONDS, DHTProtocol, ItemFound
from grape.state.journal import Journal
from grape.store import MemoryItems

MAX_STRING_BYTES = 999
# What a put fails with while the state file cannot be written.
NOT_DURABLE = "ERR_GRAPE_STATE: the item cannot be kept"
TOO_BIG = "v must be less than 1000 bytes in put()"


@attrs.frozen
class Got:
    """The result of a get: the item and where it came from.

    ``node_id`` is the 20-byte id of the node that gave it, ``token`` the write token that came with it. ``local`` is
    True if this grape itself holds the item: then the id is its own and there is no token.
    """

    item: Item
    node_id: bytes
    token: bytes | None
    local: bool

    @property
    def value(self) -> BValue:
        """The value as Python: bytes, an int, a list, or a dict with bytes keys. Decoded at each access.

        It is the value that was put, as far as bencode can express it: text comes back as its UTF-8 bytes, True as 1,
        and members that were None are missing::

            hash = await grape.put({"name": "worker", "ports": [7001, None], "up": True})
            got = await grape.get(hash)
            assert got.value == {b"name": b"worker", b"ports": [7001], b"up": 1}
        """
        return self.item.value


class Items:
    """The item calls of a node: put and get.

    ``node_id()`` returns the node's id; ``socket()`` its protocol, or raises GrapeError while the node does not run.
    ``store`` holds the items that the node serves, ``own`` those that were put through it.
    """

    def __init__(
        self,
        config: Config,
        node_id: Callable[[], bytes],
        socket: Callable[[], DHTProtocol],
        store: MemoryItems,
        own: OwnItems,
        journal: Journal,
        first_join: FirstJoin,
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._socket = socket
        self._store = store
        self._own = own
        self._journal = journal
        self._first_join = first_join

    def reconfigure(self, config: Config) -> None:
        """Takes the settings of a config that can change while the node runs."""
        self._config = config

    def put(
        self,
        value: Value,
        key: bytes | None,
        signature: bytes | None,
        seq: int | None,
        salt: bytes,
        cas: int | None,
    ) -> Deferred[str]:
        """Stores a value; the arguments and errors are those of ``Node.put``."""
        item = _item(value)
        if key is not None:
            item = _signed(item, key, signature, seq, salt, cas)
        protocol = self._socket()
        problem = self._journal.refusal
        if problem is not None:
            raise GrapeError(NOT_DURABLE, 503)
        if item.key is None:
            self._store.put(item)
        elif not bep44.is_signed(item):
            # Every node would refuse it; the Node grape's stay silent until all queries have timed out.
            raise GrapeError("All queries failed")
        refusal = self._refusal(item, cas)
        # An item that this grape itself would refuse replaces nothing here until others have accepted it.
        before = self._own.add(item) if refusal is None else None
        durable = self._when_durable() if refusal is None else None

        def outcome(written: WriteOutcome) -> str:
            if not written.accepted:
                # A node that stops ends its queries: their failures are no answer of the network.
                self._socket()
            if may_keep_alone(written, self._config):
                if refusal is not None:
                    raise refusal
                self._put_alone(item, cas)
            else:
                accepted_by(written)
                if refusal is not None:
                    self._own.add(item)
                self._own.taken(item)
            return item.target.hex()

        def acknowledge(hash: str) -> Deferred[str]:
            # Other nodes may have it already; the caller is answered when it is on our disk.
            return (durable if durable is not None else self._when_durable()).addCallback(lambda _: hash)

        def failed(failure: Failure) -> Failure:
            if durable is not None:
                durable.addErrback(lambda _: None)
            self._own.take_back(item, before)
            return failure

        put = self._first_join.deferred(lambda seconds: protocol.put(item, cas, seconds), LOOKUP_AND_WRITE_SECONDS)
        return put.addCallbacks(outcome, raise_overloaded).addCallbacks(acknowledge, failed)

    def get(self, hash: str, salt: bytes, cache: bool | None) -> Deferred[Got | None]:
        """Finds the item with this hash; the arguments and errors are those of ``Node.get``."""
        target = target_of(hash)
        stored = self._store.get(target)
        local = Got(stored, self._node_id(), None, local=True) if stored is not None else None
        is_mutable = stored is not None and stored.key is not None
        if local is not None and (cache or (cache is None and not is_mutable)):
            return succeed(local)

        def found(result: ItemFound) -> Got | None:
            item = result.item
            if item is None or item.key is not None:
                # A node that stops ends its queries: it may not have seen the item, or not the newest one.
                self._socket()
            if item is None:
                return local
            if stored is not None and is_mutable:
                if item.seq <= stored.seq:
                    return local
                self._store.put(item)
            return Got(item, result.node_id, result.token, local=False)

        salt = stored.salt if stored is not None and is_mutable else salt
        protocol = self._socket()
        got = self._first_join.deferred(lambda seconds: protocol.get(target, salt, stored, seconds), LOOKUP_SECONDS)
        return got.addCallbacks(found, raise_overloaded)

    def stored(self, target: bytes) -> Item | None:
        """Returns the item that this node stores under a target."""
        return self._store.get(target)

    def _when_durable(self) -> Deferred[None]:
        """Fires when all items that were stored until now are on the disk. Fails with GrapeError if they are not."""
        durable: Deferred[None] = Deferred(lambda _: None)

        def written(problem: str | None) -> None:
            if durable.called:
                return
            if problem is None:
                durable.callback(None)
            else:
                durable.errback(GrapeError(NOT_DURABLE, 503))

        self._journal.when_durable(written)
        return durable

    def _refusal(self, item: Item, cas: int | None) -> GrapeError | None:
        """Returns the reason why an item may not replace what is stored here under its target; None if it may."""
        if item.key is None:
            return None
        own, held = self._own.get(item.target), self._store.peek(item.target)
        try:
            if own is not None:
                _check(own.item, item, cas)
            if held is not None:
                _check(held[0], item, cas)
        except GrapeError as refusal:
            return refusal
        return None

    def _put_alone(self, item: Item, cas: int | None) -> None:
        """Stores an item in a node that has nobody to give it to; it is put when another node is met."""
        held = self._store.get(item.target)
        if held is not None:
            _check(held, item, cas)
        self._store.put(item)
        self._own.not_taken(item)


def _check(there: Item, item: Item, cas: int | None) -> None:
    try:
        if item.key is not None:
            bep44.check_update(there, item, cas)
    except RemoteProtocolError as error:
        raise GrapeError(str(error), error.code) from error


def target_of(hash: str) -> bytes:
    """Returns the target of an item's hash, 40 hex digits. Raises GrapeError ERR_GRAPE_HASH_FORMAT."""
    try:
        target = bytes.fromhex(hash) if isinstance(hash, str) and len(hash) == 2 * ID_BYTES else b""
    except ValueError:
        target = b""
    if len(target) != ID_BYTES:
        raise GrapeError("ERR_GRAPE_HASH_FORMAT")
    return target


def _item(value: Value) -> Item:
    try:
        stored = to_bencode(value)
    except ValueError as error:
        raise GrapeError("ERR_GRAPE_PUT", 400) from error
    if isinstance(stored, bytes) and len(stored) > MAX_STRING_BYTES:
        raise GrapeError(TOO_BIG)
    try:
        return bep44.immutable(stored)
    except RemoteProtocolError as error:
        raise GrapeError(TOO_BIG) from error


def _signed(item: Item, key: bytes, signature: bytes | None, seq: int | None, salt: bytes, cas: int | None) -> Item:
    """Makes a mutable item of its parts. Raises GrapeError in the order and with the texts of the Node grape."""
    if cas is not None and (isinstance(cas, bool) or not isinstance(cas, int)):
        raise GrapeError("opts.cas must be an integer if provided")
    if len(key) != bep44.KEY_BYTES:
        raise GrapeError("opts.k ed25519 public key must be 32 bytes")
    if signature is None:
        raise GrapeError("opts.sign function or options.sig signature is required for mutable put")
    if len(salt) > bep44.MAX_SALT_BYTES:
        raise GrapeError("opts.salt is > 64 bytes long")
    if seq is None:
        raise GrapeError("opts.seq not provided for a mutable update")
    if isinstance(seq, bool) or not isinstance(seq, (int, float)):
        raise GrapeError("opts.seq not an integer")
    if not isinstance(seq, int) or abs(seq) > bep44.MAX_SEQ:
        raise GrapeError("ERR_GRAPE_PUT", 400)
    return attrs.evolve(item, key=key, signature=signature, seq=seq, salt=salt)
