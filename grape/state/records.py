"""Converts records to state-file rows and back; drops invalid rows.

A record is the content of a row in the node's own types. A row of a file may hold any value of SQLite's types; a row
that makes no valid record is dropped. Times are state seconds (``grape.state.clock``).
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
from grape.dht.withdrawals import OWN
from grape.state.clock import Heartbeat
from grape.state.tables import Change, Row, Rows

NODE_ID = "node id"
HEARTBEAT = "heartbeat"
SECRETS = "token secrets"
# The announcer in the row of a peer that was withdrawn: no address, so that version 0.1.0 skips the row.
NOBODY: Address = ("", 0)


@attrs.frozen
class ItemRecord:
    """An item held for others: the host that put it ("": this node or unknown), and when it was written."""

    item: Item
    host: str
    at: float


@attrs.frozen
class OwnItemRecord:
    """An item put through this node: when, and when other nodes last took it (None: not yet)."""

    item: Item
    at: float
    published: float | None


@attrs.frozen
class PeerRecord:
    """A peer announced under a key: from which UDP address, and when."""

    key: bytes
    peer: Address
    announcer: Address
    at: float


@attrs.frozen
class WithdrawalRecord:
    """A peer withdrawn under a key, and when; host "": a peer of this node."""

    key: bytes
    peer: Address
    at: float


@attrs.frozen
class AnnounceRecord:
    """An announce made through this node: the key, the announced port (0: the UDP port), and when."""

    key: bytes
    port: int
    at: float


@attrs.frozen
class ContactRecord:
    """A contact: its node id, its UDP address, and when it was last heard from."""

    id: bytes
    address: Address
    at: float


@attrs.frozen
class Records:
    """The records of a whole file; each list is ordered by time, the oldest record first."""

    heartbeat: Heartbeat | None
    node_id: bytes | None
    secrets: Secrets | None
    items: list[ItemRecord]
    own_items: list[OwnItemRecord]
    peers: list[PeerRecord]
    withdrawals: list[WithdrawalRecord]
    own_announces: list[AnnounceRecord]
    contacts: list[ContactRecord]

    @property
    def latest(self) -> float:
        """The time of the newest record, 0 without any: where time goes on if the file has no heartbeat."""
        lists = (self.items, self.own_items, self.peers, self.withdrawals, self.own_announces, self.contacts)
        return max((record.at for some in lists for record in some), default=0.0)


def read(rows: Rows) -> Records:
    """Converts the rows of a file to records; drops rows that are invalid."""
    meta = {row[0]: row[1] for row in rows.get("meta", ()) if len(row) == 2}
    node_id = meta.get(NODE_ID)
    return Records(
        Heartbeat.from_text(meta.get(HEARTBEAT)),
        node_id if isinstance(node_id, bytes) and len(node_id) == ID_BYTES else None,
        _secrets(meta.get(SECRETS)),
        sorted(_items(rows.get("item", ())), key=lambda record: record.at),
        sorted(_own_items(rows.get("own_item", ())), key=lambda record: record.at),
        sorted(_peers(rows.get("peer", ())), key=lambda record: record.at),
        sorted(_withdrawals(rows.get("peer", ())), key=lambda record: record.at),
        sorted(_own_announces(rows.get("own_announce", ())), key=lambda record: record.at),
        sorted(_contacts(rows.get("contact", ())), key=lambda record: record.at),
    )


def node_id_change(node_id: bytes) -> Change:
    """Returns the change that writes the node id (20 bytes)."""
    return Change("meta", (NODE_ID,), (node_id,))


def heartbeat_change(heartbeat: Heartbeat) -> Change:
    """Returns the change that writes the heartbeat."""
    return Change("meta", (HEARTBEAT,), (heartbeat.to_text(),))


def secrets_change(secrets: Secrets) -> Change:
    """Returns the change that writes the secrets of write tokens; ``rotated_at`` is in state seconds."""
    return Change("meta", (SECRETS,), (f"{secrets.current.hex()} {secrets.previous.hex()} {secrets.rotated_at!r}",))


def item_change(target: bytes, record: ItemRecord | None) -> Change:
    """Returns the change that writes a held item, or deletes it if ``record`` is None."""
    if record is None:
        return Change("item", (target,), None)
    return Change("item", (target,), (*_cells(record.item), record.host, record.at))


def own_item_change(target: bytes, record: OwnItemRecord | None) -> Change:
    """Returns the change that writes an own item, or deletes it if ``record`` is None."""
    if record is None:
        return Change("own_item", (target,), None)
    return Change("own_item", (target,), (*_cells(record.item), record.at, record.published))


def peer_change(key: bytes, peer: Address, record: PeerRecord | None) -> Change:
    """Returns the change that writes a peer, or deletes it if ``record`` is None."""
    return Change("peer", (key, *peer), None if record is None else (*record.announcer, record.at))


def withdrawal_change(record: WithdrawalRecord) -> Change:
    """Returns the change that writes a withdrawal, in the place of the peer's row; ``peer_change`` deletes it."""
    return Change("peer", (record.key, *record.peer), (*NOBODY, record.at))


def own_announce_change(key: bytes, port: int, at: float | None) -> Change:
    """Returns the change that writes an own announce, or deletes it if ``at`` is None."""
    return Change("own_announce", (key, port), None if at is None else (at,))


def contact_change(address: Address, record: ContactRecord | None) -> Change:
    """Returns the change that writes a contact, or deletes it if ``record`` is None."""
    return Change("contact", address, None if record is None else (record.id, record.at))


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
            expected = sha1(raw if key is None else key + salt).digest()
            try:
                canonical = bencoding.decode(raw)[1]
            except RemoteProtocolError:
                return None
            return Item(raw, key, signature, seq, salt) if canonical and expected == target else None
    return None


def _peers(rows: Iterable[Row]) -> Iterator[PeerRecord]:
    for row in rows:
        match row:
            case (bytes() as key, host, port, by_host, by_port, int() | float() as at):
                peer, announcer = _address(host, port), _address(by_host, by_port)
                if peer is not None and announcer is not None:
                    yield PeerRecord(key, peer, announcer, at)


def _withdrawals(rows: Iterable[Row]) -> Iterator[WithdrawalRecord]:
    for row in rows:
        match row:
            case (bytes() as key, str() as host, int() as port, "", 0, int() | float() as at):
                if (host == OWN or is_ipv4(host)) and 0 < port < 65_536:
                    yield WithdrawalRecord(key, (host, port), at)


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
