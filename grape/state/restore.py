"""Puts the records of a state file into a node's stores at the start.

The stores apply their own rules: what is too old or above a limit does not come back. Rows that this leaves without an
entry are noted as changed, so that the next commit deletes them from the file.
"""

from __future__ import annotations

import attrs

from grape.dht.withdrawals import OWN
from grape.state.changes import ChangedKeys
from grape.state.recorded import Recorded
from grape.state.records import Records


def restore(found: Records, recorded: Recorded, changed: ChangedKeys, now: float, offset: float) -> None:
    """Restores ``found`` into ``recorded`` and notes in ``changed`` where the stores and the file differ.

    ``now`` is in reactor seconds; ``offset`` added to these gives state seconds. A node that was stopped and started
    again in one process has newer entries than its file, if a failing disk did not take them: these stay.
    """
    changed.is_recording = False
    _restore_tokens(found, recorded, now, offset)
    _restore_own_items(found, recorded, changed, offset)
    _restore_items(found, recorded)
    for peer in found.peers:
        age = max(now - (peer.at - offset), 0.0)
        recorded.peers.announce(peer.key, peer.peer, now, peer.announcer, age)
    for announce in found.own_announces:
        recorded.own_announces.restore(announce.key, announce.port, announce.at - offset)
    # Last: it cancels the announces that are older.
    for withdrawal in found.withdrawals:
        announced_at = recorded.own_announces.made_at(withdrawal.key, withdrawal.peer[1])
        if withdrawal.peer[0] == OWN and announced_at is not None and announced_at > withdrawal.at - offset:
            continue
        age = max(now - (withdrawal.at - offset), 0.0)
        recorded.withdrawals.withdraw(withdrawal.key, withdrawal.peer, now, age)
    changed.is_recording = True
    _note_differences(found, recorded, changed)


def _restore_tokens(found: Records, recorded: Recorded, now: float, offset: float) -> None:
    if found.secrets is not None:
        recorded.tokens.restore(attrs.evolve(found.secrets, rotated_at=found.secrets.rotated_at - offset), now)


def _restore_own_items(found: Records, recorded: Recorded, changed: ChangedKeys, offset: float) -> None:
    for own in found.own_items:
        target = own.item.target
        if changed.has_own_item(target) or recorded.own_items.get(target) is not None:
            # The node was only stopped: its own entry, or the lack of one, is newer than the row.
            continue
        published = own.published - offset if own.published is not None else None
        recorded.own_items.restore(own.item, own.at - offset, published)
        if own.item.key is None or published is None:
            recorded.items.put(own.item)


def _restore_items(found: Records, recorded: Recorded) -> None:
    for record in found.items:
        held = recorded.items.peek(record.item.target)
        if held is None or held[0].seq < record.item.seq:
            recorded.items.put(record.item, record.host)


def _note_differences(found: Records, recorded: Recorded, changed: ChangedKeys) -> None:
    items = {record.item.target: record.item for record in found.items}
    for target in {*items, *recorded.items}:
        held = recorded.items.peek(target)
        if held is None or held[0] != items.get(target):
            changed.item_changed(target)
    peers = {(record.key, record.peer) for record in found.peers}
    peers |= {(record.key, record.peer) for record in found.withdrawals}
    for key, peer in peers.symmetric_difference([*recorded.peers.all(), *recorded.withdrawals.all()]):
        changed.peer_changed(key, peer)
    for announce in found.own_announces:
        if recorded.own_announces.made_at(announce.key, announce.port) is None:
            changed.own_announce_changed(announce.key, announce.port)
