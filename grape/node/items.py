"""Items: small values by hash (BEP 44). Puts and gets over one DHT socket."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from grape.config import Config
from grape.dht import items as bep44
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.nodeid import ID_BYTES
from grape.encoding import Value, to_bencode
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome
from grape.node.errors import accepted, overloaded
from grape.node.republish import OwnItems
from grape.protocol import DHTProtocol, ItemFound
from grape.state.journal import Journal
from grape.store import MemoryItems

MAX_STRING_BYTES = 999
# The answer to a put while the state file cannot be written.
NOT_KEPT = "ERR_GRAPE_STATE: the item cannot be kept"
TOO_BIG = "v must be less than 1000 bytes in put()"


@attrs.frozen
class Got:
    """An item that ``get`` found, the id (20 bytes) of the node that held it, and the write token which that gave.

    ``local`` says that this grape holds it itself: then there is no token.
    """

    item: Item
    node_id: bytes
    token: bytes | None
    local: bool


class Items:
    """The item calls of a node. ``socket()`` gives its protocol, or raises GrapeError while it does not run."""

    def __init__(
        self,
        config: Config,
        node_id: Callable[[], bytes],
        socket: Callable[[], DHTProtocol],
        items: MemoryItems,
        own: OwnItems,
        journal: Journal,
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._socket = socket
        self._items = items
        self._own = own
        self._journal = journal

    def put(
        self,
        value: Value,
        key: bytes | None,
        signature: bytes | None,
        seq: int | None,
        salt: bytes,
        cas: int | None,
    ) -> Deferred[str]:
        """See Node.put."""
        item = _item(value)
        if key is not None:
            item = _signed(item, key, signature, seq, salt, cas)
        protocol = self._socket()
        problem = self._journal.refusal
        if problem is not None:
            raise GrapeError(NOT_KEPT, 503)
        if item.key is None:
            self._items.put(item)
        elif not bep44.is_signed(item):
            # Every node would refuse it; the reference waits for all of them to keep silent.
            raise GrapeError("All queries failed")
        refusal = self._refusal(item, cas)
        # What this grape itself would refuse takes the place of nothing before others took it.
        before = self._own.add(item) if refusal is None else None
        kept = self._kept() if refusal is None else None

        def outcome(written: WriteOutcome) -> str:
            if written.asked == 0 and not self._config.dht_bootstrap:
                if refusal is not None:
                    raise refusal
                self._keep(item, cas)
            else:
                accepted(written)
                if refusal is not None:
                    self._own.add(item)
                self._own.taken(item)
            return item.target.hex()

        def keep(hash: str) -> Deferred[str]:
            # Others may have it already; here it is acknowledged when it is on the disk.
            return (kept if kept is not None else self._kept()).addCallback(lambda _: hash)

        def failed(failure: Failure) -> Failure:
            if kept is not None:
                kept.addErrback(lambda _: None)
            self._own.take_back(item, before)
            return failure

        return protocol.put(item, cas).addCallbacks(outcome, overloaded).addCallbacks(keep, failed)

    def get(self, hash: str, salt: bytes, cache: bool | None) -> Deferred[Got | None]:
        """See Node.get."""
        target = _target(hash)
        own = self._items.get(target)
        local = Got(own, self._node_id(), None, local=True) if own is not None else None
        is_mutable = own is not None and own.key is not None
        if local is not None and (cache or (cache is None and not is_mutable)):
            return succeed(local)

        def found(result: ItemFound) -> Got | None:
            item = result.item
            if item is None:
                return local
            if own is not None and is_mutable:
                if item.seq <= own.seq:
                    return local
                self._items.put(item)
            return Got(item, result.node_id, result.token, local=False)

        salt = own.salt if own is not None and is_mutable else salt
        return self._socket().get(target, salt, own).addCallbacks(found, overloaded)

    def _kept(self) -> Deferred[None]:
        """Fires when what was stored is kept. Fails with GrapeError."""
        kept: Deferred[None] = Deferred(lambda _: None)

        def tell(problem: str | None) -> None:
            if kept.called:
                return
            if problem is None:
                kept.callback(None)
            else:
                kept.errback(GrapeError(NOT_KEPT, 503))

        self._journal.when_durable(tell)
        return kept

    def _refusal(self, item: Item, cas: int | None) -> GrapeError | None:
        """Why what is here under its target must stay."""
        if item.key is None:
            return None
        own, held = self._own.get(item.target), self._items.peek(item.target)
        try:
            if own is not None:
                _check(own.item, item, cas)
            if held is not None:
                _check(held[0], item, cas)
        except GrapeError as refusal:
            return refusal
        return None

    def _keep(self, item: Item, cas: int | None) -> None:
        held = self._items.get(item.target)
        if held is not None:
            _check(held, item, cas)
        self._items.put(item)
        self._own.alone(item)


def _check(there: Item, item: Item, cas: int | None) -> None:
    try:
        if item.key is not None:
            bep44.check_update(there, item, cas)
    except RemoteProtocolError as error:
        raise GrapeError(str(error), error.code) from error


def _target(hash: str) -> bytes:
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
    """The mutable item of these parts; what is wrong is said in the order and the words of the Node grape."""
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
