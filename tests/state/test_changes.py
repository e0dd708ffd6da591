"""ChangedKeys: which entries are noted, and that their number is bounded."""

from __future__ import annotations

import pytest

from grape.state.changes import ChangedKeys


def changed_keys() -> ChangedKeys:
    changed = ChangedKeys()
    changed.is_recording = True
    return changed


def change_all(changed: ChangedKeys) -> None:
    changed.item_changed(b"item")
    changed.own_item_changed(b"own")
    changed.peer_changed(b"key", ("10.0.0.1", 1))
    changed.own_announce_changed(b"key", 2)


def take_all(changed: ChangedKeys) -> list[list[object]]:
    peers = changed.take_peers()
    assert peers is not None
    return [
        list(changed.take_items()),
        list(changed.take_own_items()),
        list(peers),
        list(changed.take_own_announces()),
    ]


def test_changed_keys_are_taken_once() -> None:
    changed = changed_keys()
    for _ in range(2):
        change_all(changed)
    assert changed.has_own_item(b"own")
    assert take_all(changed) == [[b"item", b"own"], [b"own"], [(b"key", ("10.0.0.1", 1))], [(b"key", 2)]]
    assert not changed.has_own_item(b"own")
    assert take_all(changed) == [[], [], [], []]


def test_changed_keys_notes_nothing_while_it_does_not_record() -> None:
    changed = ChangedKeys()
    change_all(changed)
    assert take_all(changed) == [[], [], [], []]


def test_changed_keys_stands_for_all_peers_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.state.changes.MAX_CHANGED_PEERS", 2)
    changed = changed_keys()
    for port in range(1, 6):
        changed.peer_changed(b"key", ("10.0.0.1", port))
    assert changed.take_peers() is None
    changed.peer_changed(b"key", ("10.0.0.1", 9))
    assert changed.take_peers() == {(b"key", ("10.0.0.1", 9)): None}
