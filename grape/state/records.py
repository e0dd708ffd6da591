"""What is kept, as rows of a state file and back.

A row that came from a file may hold anything of the types that SQLite has: what makes no sense is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha1
from math import isfinite

import attrs

from grape.dht import bencoding
from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import RemoteProtocolError
from grape.dht.items import Item
from grape.dht.nodeid import ID_BYTES
from grape.dht.tokens import SECRET_BYTES, Secrets
from grape.state.clock import Heartbeat
from grape.state.tables import Change, Row, Rows

NODE_ID = "node id"
HEARTBEAT = "heartbeat"
SECRETS = "token secrets"


@attrs.frozen
class ItemRecord:
    """An item, the host that put it ("" if not known) and when."""

    item: Item
    host: str
    at: float


@attrs.frozen
class OwnItemRecord:
    """An item that was put here, when, and when others took it last (None: nobody yet)."""

    item: Item
    at: float
    published: float | None


@attrs.frozen
class PeerRecord:
    """A peer, when it was announced and from which address."""

    key: bytes
    peer: Address
    announcer: Address
    at: float


@attrs.frozen
class AnnounceRecord:
    """An announce that was made here."""

    key: bytes
    port: int
    at: float


@attrs.frozen
class ContactRecord:
    """A node, and when it answered last."""

    id: bytes
    address: Address
    at: float


@attrs.frozen
class Records:
    """All that a file holds; each list begins with the oldest. Times are state seconds."""

    heartbeat: Heartbeat | None
    node_id: bytes | None
    secrets: Secrets | None
    items: list[ItemRecord]
    own_items: list[OwnItemRecord]
    peers: list[PeerRecord]
    own_announces: list[AnnounceRecord]
    contacts: list[ContactRecord]

    @property
    def latest(self) -> float:
        """The state seconds of the newest of it: the least that they can be now, if there is no heartbeat."""
        lists = (self.items, self.own_items, self.peers, self.own_announces, self.contacts)
        return max((kept.at for some in lists for kept in some), default=0.0)


def read(rows: Rows) -> Records:
    """What rows mean."""
    meta = {row[0]: row[1] for row in rows.get("meta", ()) if len(row) == 2}
    node_id = meta.get(NODE_ID)
    return Records(
        Heartbeat.from_text(meta.get(HEARTBEAT)),
        node_id if isinstance(node_id, bytes) and len(node_id) == ID_BYTES else None,
        _secrets(meta.get(SECRETS)),
        sorted(_items(rows.get("item", ())), key=lambda kept: kept.at),
        sorted(_own_items(rows.get("own_item", ())), key=lambda kept: kept.at),
        sorted(_peers(rows.get("peer", ())), key=lambda kept: kept.at),
        sorted(_own_announces(rows.get("own_announce", ())), key=lambda kept: kept.at),
        sorted(_contacts(rows.get("contact", ())), key=lambda kept: kept.at),
    )


def node_id_change(node_id: bytes) -> Change:
    return Change("meta", (NODE_ID,), (node_id,))


def heartbeat_change(heartbeat: Heartbeat) -> Change:
    return Change("meta", (HEARTBEAT,), (heartbeat.to_text(),))


def secrets_change(secrets: Secrets) -> Change:
    """``rotated_at`` in state seconds."""
    return Change("meta", (SECRETS,), (f"{secrets.current.hex()} {secrets.previous.hex()} {secrets.rotated_at!r}",))


def item_change(target: bytes, kept: ItemRecord | None) -> Change:
    if kept is None:
        return Change("item", (target,), None)
    return Change("item", (target,), (*_cells(kept.item), kept.host, kept.at))


def own_item_change(target: bytes, kept: OwnItemRecord | None) -> Change:
    if kept is None:
        return Change("own_item", (target,), None)
    return Change("own_item", (target,), (*_cells(kept.item), kept.at, kept.published))


def peer_change(key: bytes, peer: Address, kept: PeerRecord | None) -> Change:
    return Change("peer", (key, *peer), None if kept is None else (*kept.announcer, kept.at))


def own_announce_change(key: bytes, port: int, at: float | None) -> Change:
    return Change("own_announce", (key, port), None if at is None else (at,))


def contact_change(address: Address, kept: ContactRecord | None) -> Change:
    return Change("contact", address, None if kept is None else (kept.id, kept.at))


def _cells(item: Item) -> Row:
    return (item.raw, item.key, item.signature, item.seq, item.salt)


def _items(rows: Iterable[Row]) -> Iterator[ItemRecord]:
    for row in rows:
        match row:
            case (target, raw, key, signature, seq, salt, str() as host, int() | float() as at):
                item = _item(target, raw, key, signature, seq, salt)
                if item is not None:
                    yield ItemRecord(item, host, at)


def _own_items(rows: Iterable[Row]) -> Iterator[OwnItemRecord]:
    for row in rows:
        match row:
            case (target, raw, key, signature, seq, salt, int() | float() as at, None | int() | float() as published):
                item = _item(target, raw, key, signature, seq, salt)
                if item is not None:
                    yield OwnItemRecord(item, at, published)


def _item(target: object, raw: object, key: object, signature: object, seq: object, salt: object) -> Item | None:
    match raw, key, signature, seq, salt:
        case bytes(), None | bytes(), bytes(), int(), bytes():
            named = sha1(raw if key is None else key + salt).digest()
            try:
                canonical = bencoding.decode(raw)[1]
            except RemoteProtocolError:
                return None
            return Item(raw, key, signature, seq, salt) if canonical and named == target else None
    return None


def _peers(rows: Iterable[Row]) -> Iterator[PeerRecord]:
    for row in rows:
        match row:
            case (bytes() as key, host, port, by_host, by_port, int() | float() as at):
                peer, announcer = _address(host, port), _address(by_host, by_port)
                if peer is not None and announcer is not None:
                    yield PeerRecord(key, peer, announcer, at)


def _own_announces(rows: Iterable[Row]) -> Iterator[AnnounceRecord]:
    for row in rows:
        match row:
            case (bytes() as key, int() as port, int() | float() as at) if 0 <= port < 65_536:
                yield AnnounceRecord(key, port, at)


def _contacts(rows: Iterable[Row]) -> Iterator[ContactRecord]:
    for row in rows:
        match row:
            case (host, port, bytes() as node_id, int() | float() as at) if len(node_id) == ID_BYTES:
                address = _address(host, port)
                if address is not None:
                    yield ContactRecord(node_id, address, at)


def _address(host: object, port: object) -> Address | None:
    if isinstance(host, str) and isinstance(port, int) and is_ipv4(host) and 0 < port < 65_536:
        return host, port
    return None


def _secrets(text: object) -> Secrets | None:
    try:
        current, previous, rotated_at = str(text).split()
        secrets = Secrets(bytes.fromhex(current), bytes.fromhex(previous), float(rotated_at))
    except ValueError:
        return None
    if not isfinite(secrets.rotated_at):
        return None
    return secrets if len(secrets.current) == len(secrets.previous) == SECRET_BYTES else None
