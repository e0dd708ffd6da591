"""grape.node.withdrawal: a withdrawn service is gone from all grapes, stays away, and is back once it is announced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from grape import Grape, GrapeError
from grape.dht import messages as krpc
from grape.dht.compact import Address
from grape.dht.messages import Query
from grape.krpc.traversal import Arguments
from grape.state.clock import Moment
from grape.testing import MemoryNetwork, make_grape, make_grapes

NAME = "rest:util:net"
PEER = "10.0.0.2:1337"
MAX_AGE = 240.0


@pytest.fixture(autouse=True)
def clocks(network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has state files told the virtual time."""
    monkeypatch.setattr(Moment, "now", lambda: Moment(0.0, "this boot", network.clock.seconds()))


def found(network: MemoryNetwork, grapes: Sequence[Grape], name: str = NAME) -> list[list[str]]:
    """Returns what a lookup at each grape finds."""
    results: list[list[str]] = [network.result(grape.lookup(name)) for grape in grapes]
    return [sorted(peers) for peers in results]


def a_ring(network: MemoryNetwork, number: int = 3) -> list[Grape]:
    """Returns grapes of which the second has announced NAME."""
    grapes = make_grapes(network, number)
    network.clock.advance(6)
    assert network.result(grapes[1].announce(NAME, 1337)) == min(number - 1, 20)
    assert found(network, grapes) == [[PEER]] * number
    return grapes


def withdraw(network: MemoryNetwork, grape: Grape, port: int = 1337) -> int:
    """Withdraws NAME; asserts that this takes less than a second."""
    begun = network.clock.seconds()
    confirmed = network.result(grape.unannounce(NAME, port))
    assert network.clock.seconds() - begun < 1.0
    return confirmed


def test_withdrawn_service_is_gone_from_every_grape_of_a_ring(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    assert withdraw(network, grapes[1]) == 2
    assert found(network, grapes) == [[], [], []]
    assert [grape.stats().services for grape in grapes] == [0, 0, 0]
    network.clock.advance(MAX_AGE)
    assert found(network, grapes) == [[], [], []]


def test_withdrawn_service_is_gone_from_a_larger_network() -> None:
    network = MemoryNetwork(seed=3)
    grapes = a_ring(network, 60)
    assert withdraw(network, grapes[1]) >= 20
    assert found(network, grapes) == [[]] * 60
    assert sum(grape.stats().services for grape in grapes) == 0


def test_withdrawn_service_is_gone_after_a_holder_died(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    network.kill("10.0.0.3")
    assert withdraw(network, grapes[1]) == 1
    assert found(network, grapes[:2]) == [[], []]


def test_withdrawal_ends_with_the_next_announce(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    withdraw(network, grapes[1])
    assert network.result(grapes[1].announce(NAME, 1337)) == 2
    assert found(network, grapes) == [[PEER]] * 3
    network.clock.advance(60)
    assert found(network, grapes) == [[PEER]] * 3
    assert all(not grape.node._withdrawals.entries for grape in grapes)


def test_withdrawal_ends_with_an_announce_that_has_a_short_life(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    withdraw(network, grapes[1])
    assert network.result(grapes[1].announce(NAME, 1337, ttl=10)) == 2
    assert found(network, grapes) == [[PEER]] * 3
    network.clock.advance(9.9)
    assert found(network, grapes) == [[PEER]] * 3
    network.clock.advance(0.2)
    assert found(network, grapes) == [[], [], []]


def test_announce_with_a_short_life_is_repeated_for_no_longer(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.result(grapes[1].announce(NAME, 1337, ttl=60))
    network.clock.advance(40)
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.stats().services == 1
    assert found(network, [newcomer]) == [[PEER]]
    network.clock.advance(11)
    assert found(network, [*grapes, newcomer]) == [[]] * 4


@pytest.mark.parametrize("ttl", [0, 0.5, 240.1, float("nan"), float("inf"), -1, True, "10"])
def test_life_that_no_peer_can_have_is_refused(network: MemoryNetwork, ttl: float) -> None:
    (grape,) = make_grapes(network, 1)
    with pytest.raises(GrapeError, match="ERR_GRAPE_SERVICE_TTL"):
        network.result(grape.announce(NAME, 1337, ttl))


@pytest.mark.parametrize("age", [0, 100_000_000])
def test_short_life_is_refused_where_no_age_can_say_it(network: MemoryNetwork, age: float) -> None:
    grape = make_grape(network, 1, dht_peer_maxAge=age)
    with pytest.raises(GrapeError, match="ERR_GRAPE_SERVICE_TTL"):
        network.result(grape.announce(NAME, 1337, 10))


def test_life_of_the_whole_age_is_an_announce_as_any(network: MemoryNetwork) -> None:
    sent: list[Query] = []

    def watch(source: object, destination: object, datagram: bytes) -> None:
        message = krpc.decode(datagram)
        if isinstance(message, Query) and message.method == b"announce_peer":
            sent.append(message)

    grapes = make_grapes(network, 2)
    network.sent = watch
    network.result(grapes[0].announce(NAME, 1337, 240))
    network.result(grapes[0].announce(NAME, 1337, 40))
    plain, short = sent
    assert b"age" not in plain.arguments
    assert b"made_ago" not in plain.arguments
    assert (short.arguments[b"age"], short.arguments[b"made_ago"]) == (200_000, 0)


def test_holder_that_was_down_learns_of_the_withdrawal_when_it_is_back(network: MemoryNetwork, tmp_path: Path) -> None:
    grapes = [make_grape(network, 1), make_grape(network, 2)]
    third = make_grape(network, 3, state=str(tmp_path / "third"))
    network.clock.advance(6)
    network.result(grapes[1].announce(NAME, 1337))
    network.clock.advance(2)
    network.result(third.stopService())
    assert withdraw(network, grapes[1]) == 1
    network.clock.advance(20)
    third.startService()
    network.clock.advance(5)
    assert found(network, [*grapes, third]) == [[], [], []]
    assert third.stats().services == 0
    network.result(third.stopService())


def test_holder_that_restarts_from_its_state_still_knows_the_withdrawal(network: MemoryNetwork, tmp_path: Path) -> None:
    grapes = [make_grape(network, 1), make_grape(network, 2)]
    third = make_grape(network, 3, state=str(tmp_path / "third"))
    network.clock.advance(6)
    network.result(grapes[1].announce(NAME, 1337))
    network.clock.advance(2)
    withdraw(network, grapes[1])
    network.clock.advance(1)
    network.result(third.stopService())
    network.kill("10.0.0.2")
    again = make_grape(network, 3, state=str(tmp_path / "third"))
    assert again.node._withdrawals.at(NAME.encode(), ("10.0.0.2", 1337)) is not None
    network.clock.advance(1)
    assert found(network, [grapes[0], again]) == [[], []]
    network.result(again.stopService())


def test_grape_that_withdrew_repeats_it_after_a_restart(network: MemoryNetwork, tmp_path: Path) -> None:
    first = make_grape(network, 1)
    second = make_grape(network, 2, state=str(tmp_path / "second"))
    network.clock.advance(6)
    network.result(second.announce(NAME, 1337))
    network.clock.advance(2)
    network.partition(["10.0.0.1"])
    assert network.result(second.unannounce(NAME, 1337)) == 0
    network.clock.advance(2)
    network.result(second.stopService())
    network.heal()
    assert found(network, [first]) == [[PEER]]
    again = make_grape(network, 2, state=str(tmp_path / "second"))
    network.clock.advance(3)
    assert found(network, [first, again]) == [[], []]
    network.result(again.stopService())


def test_renewal_by_a_second_grape_of_the_host_brings_nothing_back(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    second = make_grape(network, 2, dht_port=20_002, dht_bootstrap=["10.0.0.1:20001"])
    network.clock.advance(6)
    network.result(second.announce(NAME, 1337))
    network.clock.advance(5)
    withdraw(network, grapes[1])
    # Whatever it was told: it makes its announces again, with their age.
    second.node._services.reannouncer.restore(NAME.encode(), 1337, network.clock.seconds() - 5)
    second.node._services.reannouncer.make_again()
    newcomer = make_grape(network, 4)
    network.clock.advance(60)
    assert second.stats().counters["renewed"] >= 1
    assert found(network, [*grapes, second, newcomer]) == [[]] * 5


def test_withdrawal_cancels_the_announces_of_a_second_grape_of_the_host(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    second = make_grape(network, 2, dht_port=20_002, dht_bootstrap=["10.0.0.1:20001"])
    network.clock.advance(6)
    network.result(second.announce(NAME, 1337))
    network.result(second.announce(NAME, 1338))
    assert len(second.node._services.reannouncer) == 2
    withdraw(network, grapes[1])
    assert second.node._services.reannouncer.announces() == [(NAME.encode(), 1338)]
    # And the other way round, its new announce ends the withdrawal there.
    network.result(second.announce(NAME, 1337))
    assert found(network, [*grapes, second]) == [["10.0.0.2:1337", "10.0.0.2:1338"]] * 4
    assert not grapes[1].node._withdrawals.entries
    assert not len(grapes[1].node._services.withdrawer.own)
    # Withdrawn through the one and announced through the other it is back, too.
    withdraw(network, second)
    assert found(network, [*grapes, second]) == [["10.0.0.2:1338"]] * 4
    network.result(grapes[1].announce(NAME, 1337))
    assert found(network, [*grapes, second]) == [["10.0.0.2:1337", "10.0.0.2:1338"]] * 4


def test_newcomer_is_told_of_the_withdrawal(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    withdraw(network, grapes[1])
    newcomer = make_grape(network, 4)
    network.clock.advance(10)
    assert newcomer.node._withdrawals.at(NAME.encode(), ("10.0.0.2", 1337)) is not None
    network.clock.advance(MAX_AGE + 60)
    assert all(not grape.node._withdrawals.entries for grape in [*grapes, newcomer])


def test_nobody_at_another_address_can_withdraw(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    assert network.result(grapes[2].unannounce(NAME, 1337)) == 2
    assert found(network, grapes) == [[PEER]] * 3
    # With a token that another address was given, the query is refused.
    token = grapes[0].node._responder._tokens.issue("10.0.0.2", network.clock.seconds())
    protocol = grapes[2].node._protocol
    assert protocol is not None
    arguments: Arguments = {b"info_hash": NAME.encode(), b"port": 1337, b"token": token}
    with pytest.raises(Exception, match="bad token"):
        network.result(protocol.query(("10.0.0.1", 20_001), b"unannounce_peer", arguments))
    assert found(network, grapes) == [[PEER]] * 3


def test_service_withdrawn_while_its_announce_is_under_way_stays_withdrawn(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.clock.advance(6)
    announcing = grapes[1].announce(NAME, 1337)
    withdrawing = grapes[1].unannounce(NAME, 1337)
    assert network.result(announcing) == 2
    network.result(withdrawing)
    network.clock.advance(1)
    assert found(network, grapes) == [[], [], []]
    assert not len(grapes[1].node._services.reannouncer)


def test_service_announced_while_its_withdrawal_is_under_way_stays_announced(network: MemoryNetwork) -> None:
    grapes = a_ring(network)
    withdrawing = grapes[1].unannounce(NAME, 1337)
    assert network.result(grapes[1].announce(NAME, 1337)) == 2
    network.result(withdrawing)
    network.clock.advance(1)
    assert found(network, grapes) == [[PEER]] * 3


def test_withdrawal_in_a_lone_grape_holds_there_and_answers_0(network: MemoryNetwork) -> None:
    (grape,) = make_grapes(network, 1)
    assert network.result(grape.announce(NAME, 1337)) == 1
    assert withdraw(network, grape) == 0
    assert found(network, [grape]) == [[]]
    second = make_grape(network, 2)
    network.clock.advance(10)
    assert found(network, [grape, second]) == [[], []]


def test_port_0_withdraws_the_port_of_the_grape(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.result(grapes[1].announce(NAME, 0))
    assert found(network, grapes) == [["10.0.0.2:20001"]] * 3
    assert withdraw(network, grapes[1], 0) == 2
    assert found(network, grapes) == [[], [], []]
    assert not len(grapes[1].node._services.reannouncer)


@pytest.mark.parametrize(
    ("name", "port", "code"),
    [
        ("", 1, "ERR_GRAPE_UNANNOUNCE"),
        (None, 1, "ERR_GRAPE_UNANNOUNCE"),
        ("a", -1, "ERR_GRAPE_SERVICE_PORT"),
        ("a", 65_536, "ERR_GRAPE_SERVICE_PORT"),
        ("a", True, "ERR_GRAPE_SERVICE_PORT"),
    ],
)
def test_withdrawal_of_what_is_no_service_is_refused(network: MemoryNetwork, name: str, port: int, code: str) -> None:
    (grape,) = make_grapes(network, 1)
    with pytest.raises(GrapeError, match=code):
        network.result(grape.unannounce(name, port))


def test_withdrawal_is_not_sent_to_nodes_of_other_software(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    grapes = a_ring(network)
    methods: list[bytes] = []

    def watch(source: object, destination: object, datagram: bytes) -> None:
        message = krpc.decode(datagram)
        if isinstance(message, Query):
            methods.append(message.method)

    monkeypatch.setattr("grape.dht.messages.CLIENT", b"XX")
    network.sent = watch
    assert withdraw(network, grapes[1]) == 0
    network.clock.advance(30)
    assert methods.count(b"get_peers") == 2
    assert b"unannounce_peer" not in methods
    # They go on listing it; this grape does not, whoever names it.
    assert found(network, grapes) == [[PEER], [], [PEER]]


def test_time_out_of_a_withdrawal_does_not_count_against_a_contact(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    grapes = a_ring(network)
    port = network.ports["10.0.0.3", 20_001]
    receive = port.protocol.datagramReceived

    def receive_others(datagram: bytes, addr: Address) -> None:
        if b"15:unannounce_peer" not in datagram:
            receive(datagram, addr)

    monkeypatch.setattr(port.protocol, "datagramReceived", receive_others)
    contact = grapes[1].node._table.at(("10.0.0.3", 20_001))
    assert contact is not None
    assert withdraw(network, grapes[1]) == 1
    for _ in range(120):
        network.clock.advance(0.5)
        assert contact.failures == 0
    assert grapes[1].stats().counters["timed_out"] > 3
    assert found(network, grapes[:2]) == [[], []]


def test_thousand_withdrawals_leave_the_contacts_as_they_were(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.clock.advance(6)
    for n in range(1_000):
        network.result(grapes[n % 3].announce(f"service:{n}", 1_000 + n))
    for n in range(1_000):
        assert network.result(grapes[n % 3].unannounce(f"service:{n}", 1_000 + n)) == 2
    assert [grape.stats().services for grape in grapes] == [0, 0, 0]
    assert [grape.stats().contacts for grape in grapes] == [2, 2, 2]
    assert all(contact.failures == 0 for grape in grapes for contact in grape.node._table)
    assert [len(grape.node._withdrawals) for grape in grapes] == [1_000] * 3
