"""Storage: small values by hash (BEP 44). Puts and gets over one DHT socket."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed

from grape.config import Config
from grape.dht import items as bep44
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.nodeid import ID_BYTES
from grape.errors import GrapeError
from grape.outcome import accepted, log_failure, overloaded
from grape.protocol import DHTProtocol, ItemFound
from grape.store import MemoryItems
from grape.traversal import WriteOutcome
from grape.values import Value, to_bencode

MAX_STRING_BYTES = 999
SHARED_AT_ONCE = 16
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


class Storage:
    """The item calls of a node. ``socket()`` gives its protocol, or raises GrapeError while it does not run."""

    def __init__(self, config: Config, node_id: bytes, socket: Callable[[], DHTProtocol], items: MemoryItems) -> None:
        self._config = config
        self._node_id = node_id
        self._socket = socket
        self._items = items
        # What was put while alone; no more than is kept at all.
        self._unshared: OrderedDict[bytes, Item] = OrderedDict()
        self._sharing = False

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
        if item.key is None:
            self._items.put(item)
        elif not bep44.is_signed(item):
            # Every node would refuse it; the reference waits for all of them to keep silent.
            raise GrapeError("All queries failed")

        def outcome(written: WriteOutcome) -> str:
            if written.asked == 0 and not self._config.dht_bootstrap:
                self._keep(item, cas)
            else:
                accepted(written)
            return item.target.hex()

        return protocol.put(item, cas).addCallbacks(outcome, overloaded)

    def get(self, hash: str, salt: bytes, cache: bool | None) -> Deferred[Got | None]:
        """See Node.get."""
        target = _target(hash)
        own = self._items.get(target)
        local = Got(own, self._node_id, None, local=True) if own is not None else None
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

    def share(self) -> None:
        """Put what was put while alone on the nodes that were met, a few items at a time."""
        batch = [item for _, item in zip(range(SHARED_AT_ONCE), self._unshared.values(), strict=False)]
        if self._sharing or not batch:
            return
        self._sharing = True
        puts = [self._socket().put(item).addCallback(self._shared, item).addErrback(log_failure) for item in batch]
        DeferredList(puts).addCallback(self._go_on)

    def _shared(self, written: WriteOutcome, item: Item) -> bool:
        # A refusal is an answer: a newer item is there.
        taken = bool(written.accepted or written.refusals)
        if taken and self._unshared.get(item.target) is item:
            del self._unshared[item.target]
        return taken

    def _go_on(self, results: list[tuple[bool, bool | None]]) -> None:
        self._sharing = False
        if any(taken for _, taken in results):
            self.share()

    def _keep(self, item: Item, cas: int | None) -> None:
        own = self._items.get(item.target)
        if item.key is not None and own is not None:
            try:
                bep44.check_update(own, item, cas)
            except RemoteProtocolError as error:
                raise GrapeError(str(error), error.code) from error
        self._items.put(item)
        self._unshared[item.target] = item
        if len(self._unshared) > self._config.dht_max_values:
            self._unshared.popitem(last=False)


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
