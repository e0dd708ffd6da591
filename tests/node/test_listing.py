"""grape.node.listing: the addresses that services of this host are listed under."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs, formatEvent

from grape.config import Config
from grape.node.listing import LOCAL_HOSTS_SECONDS, RESOLVE_AGAIN_SECONDS, Listing
from grape.store import MemoryPeers
from grape.testing import HeapClock

KEY, OTHER_KEY = b"a", b"b"
HERE, ELSEWHERE = ("127.0.0.1", 20_002), ("10.0.0.9", 20_001)


class Lists:
    """A listing with its store, on a clock."""

    def __init__(self, **settings: Any) -> None:
        self.clock = HeapClock()
        self.peers = MemoryPeers(240.0)
        self.announces: list[tuple[bytes, int]] = []
        self.listing = Listing(Config(**settings), self.clock, self.peers, lambda: self.announces)

    def announce(self, key: bytes, port: int) -> None:
        """Stores an announce as ``Services`` does."""
        self.announces.append((key, port))
        self.peers.announce(key, self.listing.peer(port), self.clock.seconds())

    def stored(self, key: bytes = KEY) -> list[tuple[str, int]]:
        return self.peers.peers(key, self.clock.seconds())


# The node's own store


def test_announces_are_stored_under_loopback_until_another_host_is_met() -> None:
    lists = Lists()
    lists.announce(KEY, 80)
    lists.listing.own_host_changed("10.0.0.1")
    lists.listing.contact_listed(HERE)
    assert lists.stored() == [("127.0.0.1", 80)]
    lists.listing.contact_listed(ELSEWHERE)
    assert lists.stored() == [("10.0.0.1", 80)]
    lists.announce(OTHER_KEY, 81)
    assert lists.stored(OTHER_KEY) == [("10.0.0.1", 81)]


def test_announces_are_stored_under_loopback_until_the_own_address_is_known() -> None:
    lists = Lists()
    lists.announce(KEY, 80)
    lists.listing.contact_listed(ELSEWHERE)
    lists.listing.own_host_changed(None)
    assert lists.stored() == [("127.0.0.1", 80)]
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.stored() == [("10.0.0.1", 80)]


def test_announces_follow_the_own_address_with_their_age() -> None:
    lists = Lists()
    lists.announce(KEY, 80)
    lists.clock.advance(100)
    lists.announce(KEY, 81)
    lists.peers.announce(KEY, ("10.0.0.7", 80), lists.clock.seconds())
    lists.listing.contact_listed(ELSEWHERE)
    for host in ("10.0.0.1", "10.0.0.2", None, "10.0.0.3"):
        lists.listing.own_host_changed(host)
    assert set(lists.stored()) == {("10.0.0.3", 80), ("10.0.0.3", 81), ("10.0.0.7", 80)}
    lists.clock.advance(140)
    assert set(lists.stored()) == {("10.0.0.3", 81), ("10.0.0.7", 80)}
    lists.clock.advance(100)
    assert lists.stored() == []


def test_peers_that_others_announced_do_not_follow_the_own_address() -> None:
    lists = Lists()
    lists.peers.announce(KEY, ("127.0.0.1", 80), 0.0, HERE)
    lists.listing.contact_listed(ELSEWHERE)
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.stored() == [("127.0.0.1", 80)]


def test_announce_of_the_udp_port_follows_the_own_address() -> None:
    lists = Lists(dht_port=0)
    lists.listing.start(lambda name: succeed([]), 4_321)
    lists.announce(KEY, 0)
    lists.listing.contact_listed(ELSEWHERE)
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.stored() == [("10.0.0.1", 4_321)]


def test_announces_of_an_earlier_run_at_another_address_follow_the_own_address() -> None:
    lists = Lists()
    lists.announces += [(KEY, 80), (KEY, 20_001)]
    announced = {
        ("10.0.0.1", 80): None,
        # Of other nodes: a service, and one that announced its own UDP port.
        ("10.0.0.7", 80): ELSEWHERE,
        ("10.0.0.8", 20_001): ("10.0.0.8", 20_001),
    }
    for peer, announcer in announced.items():
        lists.peers.announce(KEY, peer, 0.0, announcer)
    lists.clock.advance(100)
    lists.listing.start(lambda name: succeed([]), 20_001)
    others = {("10.0.0.7", 80), ("10.0.0.8", 20_001)}
    assert set(lists.stored()) == {("127.0.0.1", 80), *others}
    lists.listing.own_host_changed("10.0.0.5")
    lists.listing.contact_listed(ELSEWHERE)
    assert set(lists.stored()) == {("10.0.0.5", 80), *others}
    lists.clock.advance(140)
    assert lists.stored() == []


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "10.0.0.1"),
        ({"host": "10.0.0.5"}, "10.0.0.5"),
        ({"host": "172.18.0.2", "advertise": "10.13.0.50"}, "10.13.0.50"),
        ({"advertise": "not-resolved.example"}, None),
    ],
)
def test_host_for_nodes_that_are_never_listed_is_given_until_another_host_is_met(
    settings: dict[str, Any], host: str | None
) -> None:
    lists = Lists(**settings)
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.listing.host_for_strangers() == host
    lists.listing.contact_listed(HERE)
    assert lists.listing.host_for_strangers() == host
    lists.listing.contact_listed(ELSEWHERE)
    assert lists.listing.host_for_strangers() is None


@pytest.mark.parametrize(
    ("settings", "peer"),
    [
        ({"host": "10.0.0.5"}, ("10.0.0.5", 80)),
        ({"host": "127.0.0.1"}, ("127.0.0.1", 80)),
        ({"host": "172.18.0.2", "advertise": "10.13.0.50"}, ("10.13.0.50", 80)),
        ({"advertise": "10.13.0.50:9000"}, ("10.13.0.50", 80)),
    ],
)
def test_configured_address_counts_more_than_the_own_one(settings: dict[str, Any], peer: tuple[str, int]) -> None:
    lists = Lists(**settings)
    assert lists.listing.is_configured
    lists.listing.contact_listed(ELSEWHERE)
    lists.listing.own_host_changed("10.0.0.1")
    lists.announce(KEY, 80)
    assert lists.stored() == [peer]


@pytest.mark.parametrize(
    ("settings", "port"),
    [({}, 4_321), ({"advertise": "10.0.0.5"}, 4_321), ({"advertise": "10.0.0.5:9000"}, 9_000)],
)
def test_port_of_the_grape_itself_is_the_advertised_one(settings: dict[str, Any], port: int) -> None:
    lists = Lists(dht_port=0, **settings)
    lists.listing.start(lambda name: succeed([]), 4_321)
    assert lists.listing.port_of(0) == port
    assert lists.listing.port_of(80) == 80


def test_advertised_name_is_resolved_until_it_succeeds() -> None:
    lists = Lists(host="172.18.0.2", advertise="outside.example")
    answers = [fail(OSError("no name server")), fail(OSError("no name server")), succeed(["10.13.0.50", "10.13.0.51"])]
    with capturedLogs() as logs:
        lists.listing.start(lambda name: answers.pop(0), 20_001)
        lists.announce(KEY, 80)
        lists.listing.contact_listed(ELSEWHERE)
        lists.listing.own_host_changed("172.18.0.2")
        # Of the addresses that it has no other host can reach one.
        assert lists.stored() == [("127.0.0.1", 80)]
        assert lists.listing.is_configured
        lists.clock.advance(2 * RESOLVE_AGAIN_SECONDS)
    assert lists.stored() == [("10.13.0.50", 80)]
    assert [formatEvent(event) for event in logs] == [
        "outside.example, which --advertise names, cannot be resolved; retrying: no name server",
        "outside.example, which --advertise names, is 10.13.0.50",
    ]


def test_stop_ends_the_resolution_of_an_advertised_name() -> None:
    lists = Lists(advertise="outside.example")
    lists.listing.start(lambda name: fail(OSError()), 20_001)
    lists.listing.stop()
    assert not lists.clock.getDelayedCalls()
    lists.listing.start(lambda name: Deferred(), 20_001)
    lists.listing.stop()
    lists.clock.advance(60)
    assert not lists.clock.getDelayedCalls()


# The results of lookups

LONE = ["127.0.0.1:80", "10.0.0.7:80", "127.0.0.1:81"]


@pytest.mark.parametrize("asker", [None, "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_asker_on_this_host_is_listed_loopback_addresses(asker: str | None) -> None:
    assert Lists().listing.for_asker(LONE, asker, "127.0.0.1") == LONE


@pytest.mark.parametrize("asker", [None, "127.0.0.1", "::1"])
def test_asker_on_this_host_is_listed_each_service_once(asker: str | None) -> None:
    lists = Lists()
    peers = ["127.0.0.1:80", "10.0.0.1:80", "10.0.0.7:81", "127.0.0.1:81"]
    assert lists.listing.for_asker(peers, asker, "127.0.0.1") == peers
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.listing.for_asker(peers, asker, "127.0.0.1") == ["10.0.0.1:80", "10.0.0.7:81", "127.0.0.1:81"]


def test_asker_on_this_host_is_listed_a_service_once_that_is_found_at_any_address_of_the_host() -> None:
    # As where the node is bound to 127.0.0.1, or is seen at the address of another interface.
    clock, hosts = HeapClock(), ["127.0.0.1", "10.0.0.1"]
    listing = Listing(Config(host="127.0.0.1"), clock, MemoryPeers(240.0), list, lambda: hosts)
    for host in ("10.0.0.1", "10.0.1.1"):
        found = [f"{host}:80", "127.0.0.1:80", "127.0.0.1:81", "10.0.0.7:81"]
        assert listing.for_asker(found, None, None) == [f"{host}:80", "127.0.0.1:81", "10.0.0.7:81"]
        hosts.append("10.0.1.1")
        clock.advance(LOCAL_HOSTS_SECONDS)


@pytest.mark.parametrize("came_to", ["10.0.0.5", "::ffff:10.0.0.5", "::ffff:a00:5"])
def test_asker_elsewhere_is_listed_the_address_that_it_came_to(came_to: str) -> None:
    lists = Lists()
    lists.listing.own_host_changed("10.0.0.1")
    found = lists.listing.for_asker(LONE, "10.0.0.9", came_to)
    assert found == ["10.0.0.5:80", "10.0.0.7:80", "10.0.0.5:81"]
    assert lists.listing.for_asker(["127.0.0.1:80", "10.0.0.5:80"], "10.0.0.9", came_to) == ["10.0.0.5:80"]


@pytest.mark.parametrize("asker", ["fd00::9", "fe80::9%eth0", "::ffff:10.0.0.9", "10.0.0.9"])
@pytest.mark.parametrize("came_to", ["fd00::5", "fe80::5%eth0", "127.0.0.1", None])
def test_asker_that_came_to_no_usable_address_is_listed_the_own_one(asker: str, came_to: str | None) -> None:
    lists = Lists()
    lists.listing.own_host_changed("10.0.0.1")
    assert lists.listing.for_asker(LONE, asker, came_to) == ["10.0.0.1:80", "10.0.0.7:80", "10.0.0.1:81"]


def test_asker_elsewhere_is_never_listed_a_loopback_address() -> None:
    assert Lists().listing.for_asker(LONE, "fd00::9", "fd00::5") == ["10.0.0.7:80"]
    assert Lists(host="127.0.0.1").listing.for_asker(LONE, "fd00::9", "fd00::5") == ["10.0.0.7:80"]


def test_asker_elsewhere_is_listed_the_advertised_address() -> None:
    lists = Lists(host="172.18.0.2", advertise="10.13.0.50")
    lists.listing.own_host_changed("172.18.0.2")
    found = lists.listing.for_asker(LONE, "10.13.0.9", "172.18.0.2")
    assert found == ["10.13.0.50:80", "10.0.0.7:80", "10.13.0.50:81"]
