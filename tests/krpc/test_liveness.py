"""grape.krpc.liveness: a node that comes back with its id at another address, and others that claim its id."""

from __future__ import annotations

import pytest

from grape.krpc.liveness import CLAIM_SECONDS, MAX_CLAIMANTS
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote, Traffic, silent

BUCKET = range(1, 60)


@pytest.fixture
def bare(network: MemoryNetwork) -> Bare:
    return Bare(network)


@pytest.fixture
def old(network: MemoryNetwork, bare: Bare) -> Remote:
    """Returns a contact whose id will be used elsewhere, too."""
    remote = Remote(network, "10.0.0.1")
    bare.knows(remote)
    return remote


def at(network: MemoryNetwork, old: Remote, host: str, port: int = 20_001) -> Remote:
    """Returns a node with the id of ``old`` at another address."""
    remote = Remote(network, host, port=port)
    remote.id = old.id
    return remote


def addresses(bare: Bare) -> list[tuple[str, int]]:
    return [contact.address for contact in bare.table]


@pytest.mark.parametrize("is_asked", [True, False], ids=["answers", "queries"])
@pytest.mark.parametrize(("host", "port"), [("10.0.0.2", 20_001), ("10.0.0.1", 20_002)], ids=["address", "port"])
def test_node_that_moved_is_listed_once_its_old_address_did_not_answer_twice(
    network: MemoryNetwork, bare: Bare, old: Remote, host: str, port: int, is_asked: bool
) -> None:
    old.reply = silent
    new = at(network, old, host, port)
    if is_asked:
        bare.protocol.check_liveness(new.address)
    else:
        new.ask(bare.address, b"ping")
    network.clock.advance(3.9)
    assert addresses(bare) == [old.address]
    assert old.methods() == [b"ping", b"ping"]
    network.clock.advance(0.2)
    assert addresses(bare) == [new.address]
    assert bare.ears.listed == [new.address]


def test_node_that_moved_is_listed_though_its_bucket_is_full(network: MemoryNetwork, bare: Bare, old: Remote) -> None:
    for n in BUCKET:
        bare.table.heard(old.id[:4] + bytes((n,)) + old.id[5:], (f"10.1.0.{n}", 20_001), network.clock.seconds())
    new = at(network, old, "10.0.0.2")
    assert not bare.table.has_use_for(new.id, network.clock.seconds())
    old.reply = silent
    new.ask(bare.address, b"ping")
    network.clock.advance(4.1)
    assert bare.table.at(new.address) is not None
    assert bare.table.at(old.address) is None


def test_contact_that_answers_keeps_its_place_whoever_claims_its_id(
    network: MemoryNetwork, bare: Bare, old: Remote
) -> None:
    claimants = [at(network, old, f"10.0.1.{n}") for n in range(1, 21)]
    traffic = Traffic(network)
    seconds = 60
    for _ in range(10 * seconds):
        for claimant in claimants:
            claimant.ask(bare.address, b"ping")
        network.clock.advance(0.1)
    assert addresses(bare) == [old.address]
    assert len(traffic.queries(b"ping", source=bare.address)) <= seconds / CLAIM_SECONDS + 1
    assert not any(claimant.methods() for claimant in claimants)


def test_contact_that_answers_the_second_ping_keeps_its_place(network: MemoryNetwork, bare: Bare, old: Remote) -> None:
    reply, old.reply = old.reply, silent
    at(network, old, "10.0.0.2").ask(bare.address, b"ping")
    network.clock.advance(1.9)
    old.reply = reply
    network.clock.advance(30)
    assert addresses(bare) == [old.address]


def test_contact_that_answers_another_query_meanwhile_keeps_its_place(
    network: MemoryNetwork, bare: Bare, old: Remote
) -> None:
    reply, old.reply = old.reply, silent
    at(network, old, "10.0.0.2").ask(bare.address, b"ping")
    network.clock.advance(1)
    old.reply = reply
    bare.protocol.ping(old.address)
    network.clock.advance(0.1)
    old.reply = silent
    network.clock.advance(10)
    assert addresses(bare) == [old.address]
    assert old.methods().count(b"ping") == 2


def test_claimants_of_a_dead_contacts_id_are_pinged_and_bounded(
    network: MemoryNetwork, bare: Bare, old: Remote
) -> None:
    old.reply = silent
    claimants = [at(network, old, f"10.0.1.{n}") for n in range(1, 21)]
    for claimant in claimants:
        claimant.reply = silent
        claimant.ask(bare.address, b"ping")
    network.clock.advance(4.1)
    assert sum(claimant.methods() == [b"ping"] for claimant in claimants) == MAX_CLAIMANTS
    # The one that does answer is listed, if it comes among the first after the pause.
    claimants[7].reply = lambda query: {}
    network.clock.advance(CLAIM_SECONDS)
    claimants[7].ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert addresses(bare) == [claimants[7].address]


def test_claimant_is_pinged_when_another_node_has_taken_the_old_address(
    network: MemoryNetwork, bare: Bare, old: Remote
) -> None:
    new = at(network, old, "10.0.0.2")
    old.id = b"n" * 20
    new.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert sorted(addresses(bare)) == [old.address, new.address]


def test_contact_whose_address_is_now_our_own_is_dropped(network: MemoryNetwork, bare: Bare, old: Remote) -> None:
    old.id = bare.table.own_id
    for _ in range(3):
        bare.protocol.check_liveness(old.address)
        network.clock.advance(1)
    assert addresses(bare) == []
    assert bare.ears.dropped == [old.address]


def test_querier_is_pinged_again_once_the_contact_with_its_id_was_dropped(
    network: MemoryNetwork, bare: Bare, old: Remote
) -> None:
    # Pinged while nobody had its id, it answered with another one, and so the ping before counts as one to it.
    new = Remote(network, "10.0.0.2")
    bare.table.failed(old.address, 1.0, 1.0)
    now = network.clock.seconds()
    bare.protocol._admission._checked_at.put((new.address, old.id), now)
    network.clock.advance(1)
    old.reply = silent
    for _ in range(3):
        bare.protocol.check_liveness(old.address)
        network.clock.advance(2.5)
    new.id = old.id
    new.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert addresses(bare) == [new.address]
