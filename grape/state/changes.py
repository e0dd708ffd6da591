"""Remembers which entries of the stores changed, and reads their current values as changes of the state file.

The stores say only that an entry changed. Its value is read when it is written: an entry that changes ten times between
two commits is written once, and a commit that failed is repeated with the values of that later moment.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from grape.dht.compact import Address
from grape.dht.tokens import Secrets
from grape.state import records
from grape.state.recorded import OwnItem, Recorded
from grape.state.records import ContactRecord, ItemRecord, OwnItemRecord, PeerRecord, WithdrawalRecord
from grape.state.tables import Change

CONTACTS_SECONDS = 60.0
# The pause after a contact was listed or dropped.
CONTACTS_PAUSE_SECONDS = 2.0
MAX_CONTACTS = 256
# Above this number of changed peers, reached only while nothing can be written, all peers are written instead.
MAX_CHANGED_PEERS = 100_000


class ChangedKeys:
    """The keys of the entries that changed and are not written yet.

    Nothing is noted while ``is_recording`` is False: before the state file is opened, and while it is restored.
    """

    def __init__(self) -> None:
        self.is_recording = False
        # Dicts in place of sets: they keep the order.
        self._items: dict[bytes, None] = {}
        self._own_items: dict[bytes, None] = {}
        self._peers: dict[tuple[bytes, Address], None] = {}
        self._all_peers = False
        self._own_announces: dict[tuple[bytes, int], None] = {}

    def item_changed(self, target: bytes) -> None:
        """Notes that an item was stored or removed."""
        if self.is_recording:
            self._items[target] = None

    def own_item_changed(self, target: bytes) -> None:
        """Notes that an item put through this node was added, published or removed."""
        if self.is_recording:
            self._own_items[target] = None
            # One row may stand for both: whether it does is decided anew.
            self._items[target] = None

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """Notes that a peer was announced, renewed or removed, or that its withdrawal was made or has ended."""
        if self._all_peers or not self.is_recording:
            return
        self._peers[key, peer] = None
        if len(self._peers) > MAX_CHANGED_PEERS:
            # Rows of removed peers stay in the file; the next start drops them by their age.
            self._all_peers = True
            self._peers.clear()

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """Notes that an announce made through this node was made or has expired."""
        if self.is_recording:
            self._own_announces[key, port] = None

    def has_own_item(self, target: bytes) -> bool:
        """Returns True if a change of this own item is not written yet."""
        return target in self._own_items

    def take_items(self) -> Iterable[bytes]:
        """Returns the targets of changed items, and forgets them."""
        items, self._items = self._items, {}
        return items

    def take_own_items(self) -> Iterable[bytes]:
        """Returns the targets of changed own items, and forgets them."""
        own_items, self._own_items = self._own_items, {}
        return own_items

    def take_peers(self) -> Iterable[tuple[bytes, Address]] | None:
        """Returns the changed peers, each with its key, and forgets them; None stands for all peers."""
        peers, self._peers = self._peers, {}
        all_peers, self._all_peers = self._all_peers, False
        return None if all_peers else peers

    def take_own_announces(self) -> Iterable[tuple[bytes, int]]:
        """Returns the keys and ports of changed own announces, and forgets them."""
        own_announces, self._own_announces = self._own_announces, {}
        return own_announces


class ChangeCollector:
    """Reads the current values of ``changed`` entries from the ``recorded`` stores.

    ``offset`` added to reactor seconds gives state seconds (see ``grape.state.clock``). ``contacts`` and ``node_id``
    are those that the file holds.
    """

    def __init__(
        self,
        recorded: Recorded,
        changed: ChangedKeys,
        offset: float,
        contacts: Iterable[ContactRecord],
        node_id: bytes | None = None,
    ) -> None:
        self._recorded = recorded
        self._changed = changed
        self._offset = offset
        self._secrets: Secrets | None = None
        self._contacts = {contact.address: contact for contact in contacts}
        self._contacts_at = 0.0
        self._table_version = -1
        # None: it is to be written.
        self._node_id = node_id

    def id_written(self, node_id: bytes) -> None:
        """Notes that the file holds this node id."""
        self._node_id = node_id

    def collect_items(self, now: float) -> list[Change]:
        """Returns the changes of items and own items: puts are acknowledged once these are written."""
        changes = []
        for target in self._changed.take_items():
            held = self._recorded.items.peek(target)
            own = self._recorded.own_items.get(target)
            if held is not None and own is not None and own.item == held[0] and own.item.key is None:
                # The row of the own item is enough. A mutable own item is not always among the held ones: it has both.
                continue
            record = ItemRecord(*held, now + self._offset) if held is not None else None
            changes.append(records.item_change(target, record))
        for target in self._changed.take_own_items():
            own = self._recorded.own_items.get(target)
            changes.append(records.own_item_change(target, self._own_record(own) if own is not None else None))
        return changes

    def collect_others(self, now: float, *, at_end: bool = False) -> list[Change]:
        """Returns the changes of all else: node id, peers, own announces, token secrets and contacts.

        Contacts are left out while they were written lately, unless ``at_end``.
        """
        return [
            *self._id_changes(),
            *self._peer_changes(),
            *self._own_announce_changes(),
            *self._secrets_changes(now),
            *self._contact_changes(now, at_end=at_end),
        ]

    def collect_again(self, changes: Iterable[Change]) -> None:
        """Notes that these changes could not be written: the next ones will contain their entries again."""
        for change in changes:
            match change.table, change.key:
                case "item", (bytes() as target,):
                    self._changed.item_changed(target)
                case "own_item", (bytes() as target,):
                    self._changed.own_item_changed(target)
                case "peer", (bytes() as key, str() as host, int() as port):
                    self._changed.peer_changed(key, (host, port))
                case "own_announce", (bytes() as key, int() as port):
                    self._changed.own_announce_changed(key, port)
                case "contact", _:
                    self._table_version, self._contacts = -1, {}
                case "meta", _:
                    self._secrets = self._node_id = None

    def _id_changes(self) -> list[Change]:
        node_id = self._recorded.table.own_id
        if node_id == self._node_id:
            return []
        self._node_id = node_id
        return [records.node_id_change(node_id)]

    def _own_record(self, own: OwnItem) -> OwnItemRecord:
        published = own.published + self._offset if own.published is not None else None
        return OwnItemRecord(own.item, own.at + self._offset, published)

    def _peer_changes(self) -> list[Change]:
        peers = self._changed.take_peers()
        changes = []
        recorded = self._recorded
        for key, peer in peers if peers is not None else [*recorded.peers.all(), *recorded.withdrawals.all()]:
            held = recorded.peers.known(key, peer)
            withdrawn_at = recorded.withdrawals.at(key, peer) if held is None else None
            if withdrawn_at is not None:
                withdrawal = WithdrawalRecord(key, peer, withdrawn_at + self._offset)
                changes.append(records.withdrawal_change(withdrawal))
                continue
            record = PeerRecord(key, peer, held[1], held[0] + self._offset) if held is not None else None
            changes.append(records.peer_change(key, peer, record))
        return changes

    def _own_announce_changes(self) -> list[Change]:
        changes = []
        for key, port in self._changed.take_own_announces():
            at = self._recorded.own_announces.made_at(key, port)
            changes.append(records.own_announce_change(key, port, at + self._offset if at is not None else None))
        return changes

    def _secrets_changes(self, now: float) -> list[Change]:
        secrets = self._recorded.tokens.secrets(now)
        if secrets == self._secrets:
            return []
        self._secrets = secrets
        return [records.secrets_change(attrs.evolve(secrets, rotated_at=secrets.rotated_at + self._offset))]

    def _contact_changes(self, now: float, *, at_end: bool) -> list[Change]:
        table = self._recorded.table
        pause = CONTACTS_SECONDS if table.version == self._table_version else CONTACTS_PAUSE_SECONDS
        # While the table is empty the contacts of the file are the best ones to start from.
        if not len(table) or (now - self._contacts_at < pause and not at_end):
            return []
        latest = sorted(table, key=lambda contact: -contact.heard_at)[:MAX_CONTACTS]
        contacts = {c.address: ContactRecord(c.id, c.address, c.heard_at + self._offset) for c in latest}
        gone = [address for address in self._contacts if address not in contacts]
        new = [contact for contact in contacts.values() if self._contacts.get(contact.address) != contact]
        self._contacts, self._contacts_at, self._table_version = contacts, now, table.version
        return [records.contact_change(address, None) for address in gone] + [
            records.contact_change(contact.address, contact) for contact in new
        ]
