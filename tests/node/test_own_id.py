"""Nodes that were started from copies of one state file: each comes to an id of its own; strangers bring none about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from twisted.internet import task
from twisted.logger import capturedLogs, formatEvent

from grape import Grape
from grape.node.own_id import REPLACEABLE_SECONDS
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes
from tests.simulation import Remote

RING_SECONDS = 12.0


def image(network: MemoryNetwork, folder: Path, copies: int) -> list[str]:
    """Returns copies of the state file of a grape that was announced through."""
    original = str(folder / "image.sqlite")
    grape = make_grape(network, 90, state=original, dht_bootstrap=[])
    network.result(grape.announce("of the image", 1))
    network.clock.advance(5)
    network.result(grape.stopService())
    return [str(shutil.copy(original, folder / f"copy{number}.sqlite")) for number in range(copies)]


def clones(network: MemoryNetwork, folder: Path, number: int) -> list[Grape]:
    entries = [f"{host_name(index)}:20001" for index in range(1, number + 1)]
    files = image(network, folder, number)
    return [make_grape(network, index, state=files[index - 1], dht_bootstrap=entries) for index in range(1, number + 1)]


@pytest.mark.parametrize("number", [2, 3])
def test_hosts_from_one_image_form_a_ring(network: MemoryNetwork, tmp_path: Path, number: int) -> None:
    with capturedLogs() as logs:
        grapes = clones(network, tmp_path, number)
        network.clock.advance(RING_SECONDS)
    assert len({grape.node.node_id for grape in grapes}) == number
    assert [grape.stats().contacts for grape in grapes] == [number - 1] * number
    for index, grape in enumerate(grapes):
        assert network.result(grape.announce(f"of {index}", 7)) == number - 1
    for grape in grapes:
        for index in range(number):
            assert network.result(grape.lookup(f"of {index}")) == [f"{host_name(index + 1)}:7"]
    # Those that take a new id drop the announces of the file.
    kept = [len(grape.node._services.reannouncer) - 1 for grape in grapes]
    assert 0 <= sum(kept) < number
    assert sorted(set(kept)) in ([0], [0, 1])
    lines = [formatEvent(event) or "" for event in logs]
    assert sum("takes a new one" in line for line in lines) == kept.count(0)
    assert 1 <= sum("takes a new one" in line for line in lines) <= number
    ids = [grape.node.node_id for grape in grapes]
    for grape in grapes:
        network.result(grape.stopService())
    # The file has the new id.
    again = [
        make_grape(network, index, state=str(tmp_path / f"copy{index - 1}.sqlite"), dht_bootstrap=[])
        for index in range(1, number + 1)
    ]
    assert [grape.node.node_id for grape in again] == ids


def test_copies_that_start_one_after_another_join_through_a_name(network: MemoryNetwork, tmp_path: Path) -> None:
    entries = ["ring.example:20001"]
    network.names["ring.example"] = [host_name(index) for index in range(1, 5)]
    grapes = []
    for index, file in enumerate(image(network, tmp_path, 4), 1):
        grapes.append(make_grape(network, index, state=file, dht_bootstrap=entries))
        network.clock.advance(RING_SECONDS)
    assert len({grape.node.node_id for grape in grapes}) == 4
    assert [grape.stats().contacts for grape in grapes] == [3] * 4


def test_copy_waits_for_the_names_of_its_bootstrap_nodes_though_a_remembered_contact_answers(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, copy = str(tmp_path / "image.sqlite"), str(tmp_path / "copy.sqlite")
    others = make_grapes(network, 3)
    original = make_grape(network, 4, state=file)
    network.clock.advance(60)
    network.result(original.stopService())
    shutil.copy(file, copy)
    original = make_grape(network, 4, state=file)
    network.clock.advance(10)
    network.names["ring.example"] = [host_name(index) for index in range(1, 6)]
    reactor = network.reactor(host_name(5))
    resolve_all = reactor.resolve_all
    monkeypatch.setattr(reactor, "resolve_all", lambda name: task.deferLater(reactor, 0.05, resolve_all, name))  # type: ignore[arg-type]
    copied = make_grape(network, 5, state=copy, dht_bootstrap=["ring.example:20001"])
    network.clock.advance(RING_SECONDS)
    assert copied.node.node_id != original.node.node_id
    assert [grape.stats().contacts for grape in [*others, original, copied]] == [4] * 5


def restarted(network: MemoryNetwork, folder: Path, entries: list[str]) -> Grape:
    return make_grape(network, 1, state=image(network, folder, 1)[0], dht_bootstrap=entries)


def attacker(network: MemoryNetwork, grape: Grape, host: str) -> Remote:
    remote = Remote(network, host)
    remote.id = grape.node.node_id
    return remote


def test_stranger_with_our_id_changes_nothing(network: MemoryNetwork, tmp_path: Path) -> None:
    grape = restarted(network, tmp_path, ["10.0.0.40:20001"])
    node_id = grape.node.node_id
    with capturedLogs() as logs:
        # Not a bootstrap node.
        stranger = attacker(network, grape, "10.0.0.41")
        network.result(grape.node._socket().ping(stranger.address).addErrback(lambda _: None))
        network.clock.advance(REPLACEABLE_SECONDS)
    assert grape.node.node_id == node_id
    lines = [formatEvent(event) or "" for event in logs]
    assert sum("grape state new-id" in line for line in lines) == 1


def test_bootstrap_node_with_our_id_changes_nothing_once_a_contact_is_listed(
    network: MemoryNetwork, tmp_path: Path
) -> None:
    honest = make_grape(network, 2, dht_bootstrap=[])
    grape = restarted(network, tmp_path, ["10.0.0.2:20001", "10.0.0.40:20001"])
    node_id = grape.node.node_id
    network.clock.advance(10)
    assert grape.stats().contacts == 1
    attacker(network, grape, "10.0.0.40")
    network.clock.advance(REPLACEABLE_SECONDS)
    assert grape.node.node_id == node_id
    assert honest.stats().contacts == 1


def test_bootstrap_node_with_our_id_changes_nothing_after_a_minute(network: MemoryNetwork, tmp_path: Path) -> None:
    grape = restarted(network, tmp_path, ["10.0.0.40:20001"])
    node_id = grape.node.node_id
    network.clock.advance(REPLACEABLE_SECONDS + 1)
    attacker(network, grape, "10.0.0.40")
    network.clock.advance(60)
    assert grape.node.node_id == node_id


def test_id_that_is_not_from_a_file_stays(network: MemoryNetwork) -> None:
    grape = make_grape(network, 1, dht_bootstrap=["10.0.0.40:20001"])
    node_id = grape.node.node_id
    attacker(network, grape, "10.0.0.40")
    network.clock.advance(30)
    assert grape.node.node_id == node_id


def test_grape_that_is_its_own_bootstrap_node_keeps_its_id(network: MemoryNetwork, tmp_path: Path) -> None:
    with capturedLogs() as logs:
        grape = restarted(network, tmp_path, ["10.0.0.1:20001"])
        node_id = grape.node.node_id
        network.clock.advance(30)
    assert grape.node.node_id == node_id
    assert not any("copies of one state file" in (formatEvent(event) or "") for event in logs)
