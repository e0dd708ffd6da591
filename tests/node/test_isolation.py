"""grape.node.isolation: when a node finds out that it is alone, and what it sends for that."""

from __future__ import annotations

import math

from twisted.internet.defer import Deferred, fail

from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.dht.errors import QueryTimeout
from grape.node.isolation import ANSWER_SECONDS, PINGS, REPEAT_SECONDS, SILENT_SECONDS, Isolation, IsolationCheck
from grape.testing import HeapClock, MemoryNetwork, make_grapes
from tests.simulation import Remote, Traffic, lone_grape, silent

FIRST = "10.0.0.1:20001"


def contact(number: int, heard_at: float = 0.0, failures: int = 0, host: str = "") -> Contact:
    """Returns a contact that was heard at a time; its port is its number, and its host too unless named."""
    made = Contact(b"%020d" % number, (host or f"10.0.0.{number}", number), heard_at)
    made.failures = failures
    return made


def numbers(addresses: list[Address]) -> list[int]:
    return [port for _, port in addresses]


# The decision


def test_isolation_without_contacts_is_known_at_once() -> None:
    isolation = Isolation()
    assert isolation.look(0.0, []) == ([], SILENT_SECONDS)
    assert isolation.is_isolated
    isolation.look(1.0, [contact(1, 1.0)])
    assert not isolation.is_isolated
    isolation.look(2.0, [])
    assert isolation.is_isolated


def test_isolation_pings_nobody_while_contacts_are_heard() -> None:
    isolation = Isolation()
    for now in range(100):
        pings, pause = isolation.look(now, [contact(1, now - 4.5), contact(2, -math.inf)])
        assert (pings, pause, isolation.is_isolated) == ([], 0.5, False)


def test_isolation_is_known_two_seconds_after_five_silent_ones() -> None:
    isolation = Isolation()
    contacts = [contact(number) for number in range(1, 6)]
    assert isolation.look(0.0, contacts) == ([], SILENT_SECONDS)
    pings, pause = isolation.look(SILENT_SECONDS, contacts)
    assert (len(pings), pause, isolation.is_isolated) == (PINGS, ANSWER_SECONDS, False)
    assert isolation.look(SILENT_SECONDS + 1, contacts) == ([], ANSWER_SECONDS - 1)
    assert not isolation.is_isolated
    assert isolation.look(SILENT_SECONDS + ANSWER_SECONDS, contacts) == ([], SILENT_SECONDS - ANSWER_SECONDS)
    assert isolation.is_isolated


def test_isolation_ends_with_any_answer() -> None:
    isolation = Isolation()
    contacts = [contact(1), contact(2)]
    for now in (5.0, 7.0):
        isolation.look(now, contacts)
    assert isolation.is_isolated
    contacts[1].heard_at = 7.5
    assert isolation.look(7.5, contacts) == ([], SILENT_SECONDS)
    assert not isolation.is_isolated


def test_isolated_node_pings_again_every_five_seconds() -> None:
    isolation = Isolation()
    contacts = [contact(number) for number in (1, 2, 3)]
    sent, now = [], 0.0
    while now < 60.0:
        pings, pause = isolation.look(now, contacts)
        sent += [now] * len(pings)
        now += pause
    assert sent == [
        at for at in (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0) for _ in range(PINGS)
    ]


def test_isolation_of_a_node_with_one_contact_takes_three_pings() -> None:
    contacts = [contact(1)]
    isolation = Isolation(contacts)
    now, sent = SILENT_SECONDS, []
    while not isolation.is_isolated:
        pings, pause = isolation.look(now, contacts)
        sent += [now] * len(pings)
        now += pause
    assert sent == [SILENT_SECONDS + number * REPEAT_SECONDS for number in range(PINGS)]


def test_node_with_two_contacts_pings_one_of_them_again() -> None:
    isolation = Isolation()
    contacts = [contact(1), contact(2)]
    assert numbers(isolation.look(5.0, contacts)[0]) == [1, 2]
    assert isolation.look(5.2, contacts)[0] == []
    assert numbers(isolation.look(5.5, contacts)[0]) == [1]
    assert isolation.look(6.0, contacts) == ([], 1.0)


def test_isolation_pings_sound_contacts_of_different_hosts_that_were_heard_last() -> None:
    contacts = [
        contact(1, 9.0, failures=1),
        contact(2, 8.0, host="10.0.1.1"),
        contact(3, 9.5, host="10.0.1.1"),
        contact(4, 1.0, host="10.0.1.2"),
        contact(5, 2.0, host="10.0.1.3"),
    ]
    assert numbers(Isolation().look(20.0, contacts)[0]) == [3, 5, 4]
    assert numbers(Isolation().look(20.0, contacts[1:4])[0]) == [3, 4, 2]


# The check by a clock


class Made:
    """A check over scripted contacts."""

    def __init__(self, *contacts: Contact) -> None:
        self.clock = HeapClock()
        self.contacts = list(contacts)
        self.pinged: list[tuple[float, Deferred[object]]] = []
        self.check = IsolationCheck(self.clock, lambda: self.contacts, self.ping)
        self.check.start()

    def ping(self, address: Address) -> Deferred[object]:
        self.pinged.append((self.clock.seconds(), Deferred()))
        return self.pinged[-1][1]


def test_check_ends_isolation_as_soon_as_a_ping_is_answered() -> None:
    made = Made(*[contact(number) for number in (1, 2, 3)])
    made.clock.advance(10.5)
    assert made.check.is_isolated
    assert [at for at, _ in made.pinged] == [5.0] * 3 + [10.0] * 3
    made.contacts[0].heard_at = made.clock.seconds()
    made.pinged[-1][1].callback(None)
    assert not made.check.is_isolated
    for _, ping in made.pinged[:-1]:
        ping.errback(QueryTimeout("too late"))
    made.clock.advance(4.9)
    assert len(made.pinged) == 6
    made.check.stop()


def test_check_that_is_stopped_leaves_no_timer_and_heeds_no_answer() -> None:
    made = Made(contact(1))
    made.clock.advance(SILENT_SECONDS)
    made.check.stop()
    made.pinged[0][1].callback(None)
    made.check.look()
    assert made.clock.getDelayedCalls() == []


def test_check_reads_the_socket_before_it_decides() -> None:
    """A process that was paused finds its timer due and answers unread."""
    made = Made(*[contact(number) for number in (1, 2, 3)])
    made.clock.advance(SILENT_SECONDS)
    made.clock.callLater(ANSWER_SECONDS, lambda: setattr(made.contacts[0], "heard_at", made.clock.seconds()))
    made.clock.advance(ANSWER_SECONDS)
    assert not made.check.is_isolated
    made.check.stop()


def test_check_survives_a_ping_that_cannot_be_sent() -> None:
    clock = HeapClock()
    check = IsolationCheck(clock, lambda: [contact(1)], lambda _: fail(QueryTimeout("not sent")))
    check.start()
    clock.advance(SILENT_SECONDS + ANSWER_SECONDS)
    assert check.is_isolated
    check.stop()


# In a node


def pings(traffic: Traffic, host: str) -> int:
    """Returns how many pings a host sent."""
    return len(traffic.queries(b"ping", source=(host, 20_001)))


def test_idle_node_pings_at_most_three_contacts_in_five_seconds(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 10)
    network.clock.advance(100)
    traffic = Traffic(network)
    network.clock.advance(100)
    assert 50 <= pings(traffic, "10.0.0.2") <= 62
    # The first one was given no nodes to join: alone it is well, and it need not know.
    assert pings(traffic, "10.0.0.1") == 0
    assert all(not grape.node.inspector.is_isolated for grape in grapes)


def test_node_in_a_busy_network_pings_nobody_for_it(network: MemoryNetwork) -> None:
    _, second = make_grapes(network, 2)
    traffic = Traffic(network)
    for number in range(60):
        network.result(second.lookup(f"name {number}"))
        network.clock.advance(2)
    assert pings(traffic, "10.0.0.2") == 0


def test_node_knows_within_seven_seconds_that_it_was_cut_off_and_soon_that_it_is_not(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3, dht_bootstrap=["10.0.0.1:20001", "10.0.0.2:20001", "10.0.0.3:20001"])
    network.clock.advance(60)
    for cut in (20.0, 100.0):
        network.partition(["10.0.0.3"])
        network.clock.advance(SILENT_SECONDS + ANSWER_SECONDS + 0.1)
        assert [grape.node.inspector.is_isolated for grape in grapes] == [False, False, True]
        network.clock.advance(cut)
        network.heal()
        network.clock.advance(6.1)
        assert [grape.node.inspector.is_isolated for grape in grapes] == [False, False, False]


def test_node_is_not_isolated_by_a_contact_that_is_slow(network: MemoryNetwork) -> None:
    remote = Remote(network, "10.0.0.1")
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    remote.delay = 1.9
    network.clock.advance(60)
    assert not grape.node.inspector.is_isolated
    remote.reply = silent
    network.clock.advance(10)
    assert grape.node.inspector.is_isolated
