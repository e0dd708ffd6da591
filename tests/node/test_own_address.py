"""grape.node.own_address: the interface's address, or what a majority of contacts say."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from grape.node.own_address import MAX_VOTES, VOTE_SECONDS, OwnAddress

HERE = "10.1.0.7"
OUTSIDE = "9.8.7.6"


class Interface:
    """An interface whose address the test changes."""

    def __init__(self, address: str | None = HERE) -> None:
        self.address = address

    def __call__(self) -> str | None:
        return self.address


@pytest.fixture
def interface() -> Interface:
    return Interface()


@pytest.fixture
def own(interface: Interface) -> OwnAddress:
    return OwnAddress(interface)


def vote(own: OwnAddress, ip: str, *voters: str, now: float = 0.0) -> None:
    """Lets contacts vote: each a host, with a port after a colon unless it is 20001."""
    for voter in voters:
        host, _, port = voter.partition(":")
        own.told((host, int(port or 20_001)), ip, now)


def test_own_address_is_the_interfaces_from_the_first_look_on(own: OwnAddress, interface: Interface) -> None:
    heard: list[str | None] = []
    own.on_change(heard.append)
    own.look(0.0)
    own.look(5.0)
    assert (own.host, heard) == (HERE, [HERE])
    interface.address = "10.1.0.55"
    assert own.host == HERE
    own.look(10.0)
    assert (own.host, heard) == ("10.1.0.55", [HERE, "10.1.0.55"])


@pytest.mark.parametrize("address", [None, "127.0.0.1", "0.0.0.0", "224.0.0.1", "nonsense"])
def test_own_address_is_unknown_without_a_usable_interface(
    own: OwnAddress, interface: Interface, address: str | None
) -> None:
    interface.address = address
    own.look(0.0)
    assert own.host is None


def test_own_address_is_kept_while_the_network_is_down(own: OwnAddress, interface: Interface) -> None:
    heard: list[str | None] = []
    own.on_change(heard.append)
    for interface.address in (HERE, None, HERE):
        own.look(0.0)
    assert heard == [HERE]


def test_own_address_is_what_three_contacts_say(own: OwnAddress) -> None:
    vote(own, OUTSIDE, "9.0.0.1", "9.0.0.2")
    own.look(0.0)
    assert own.host == HERE
    vote(own, OUTSIDE, "9.0.0.3")
    own.look(5.0)
    assert own.host == OUTSIDE


def test_own_address_is_not_changed_by_half_of_the_hosts(own: OwnAddress) -> None:
    vote(own, HERE, "10.0.0.1", "10.0.0.2")
    # However many nodes run on a host, and however often they vote, it has one vote.
    vote(own, OUTSIDE, *(f"9.0.0.1:{port}" for port in range(1, 51)), "9.0.0.2", "9.0.0.2")
    own.look(0.0)
    assert own.host == HERE
    vote(own, OUTSIDE, "9.0.0.3")
    own.look(5.0)
    assert own.host == OUTSIDE


def test_own_address_is_what_three_nodes_of_the_only_other_host_say(own: OwnAddress) -> None:
    vote(own, OUTSIDE, "9.0.0.1:1", "9.0.0.1:2")
    own.look(0.0)
    assert own.host == HERE
    vote(own, OUTSIDE, "9.0.0.1:3")
    own.look(5.0)
    assert own.host == OUTSIDE


def test_own_address_follows_the_newest_vote_of_each_host(own: OwnAddress) -> None:
    voters = "9.0.0.1", "9.0.0.2", "9.0.0.3"
    vote(own, OUTSIDE, *voters)
    own.look(0.0)
    vote(own, "9.8.7.7", *voters, now=5.0)
    own.look(5.0)
    assert own.host == "9.8.7.7"


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_own_address_is_never_an_address_that_no_other_host_can_reach(own: OwnAddress, ip: str) -> None:
    vote(own, ip, "9.0.0.1", "9.0.0.2", "9.0.0.3", "9.0.0.4")
    own.look(0.0)
    assert own.host == HERE


def test_votes_fade_and_those_of_dropped_contacts_end(own: OwnAddress) -> None:
    vote(own, OUTSIDE, "9.0.0.1", "9.0.0.2", "9.0.0.3")
    vote(own, OUTSIDE, "9.0.0.4", now=100.0)
    own.look(VOTE_SECONDS - 1)
    assert own.host == OUTSIDE
    own.look(VOTE_SECONDS)
    assert own.host == HERE
    vote(own, OUTSIDE, "9.0.0.5", "9.0.0.6", now=VOTE_SECONDS)
    own.forget(("9.0.0.6", 20_001))
    own.look(VOTE_SECONDS)
    assert own.host == HERE


def test_votes_end_when_the_interface_has_another_address(own: OwnAddress, interface: Interface) -> None:
    vote(own, HERE, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    own.look(0.0)
    interface.address = "10.1.0.55"
    own.look(5.0)
    assert own.host == "10.1.0.55"


def test_votes_are_bounded(own: OwnAddress) -> None:
    own.look(0.0)
    vote(own, OUTSIDE, *(f"9.0.{n >> 8}.{n & 255}" for n in range(MAX_VOTES)))
    vote(own, HERE, *(f"8.0.{n >> 8}.{n & 255}" for n in range(MAX_VOTES)))
    own.look(5.0)
    assert own.host == HERE


def test_callback_that_raises_is_logged_and_the_others_are_called(
    own: OwnAddress, logged_failures: list[LogEvent]
) -> None:
    heard: list[str | None] = []

    def raising(host: str | None) -> None:
        raise ValueError(host)

    own.on_change(raising)
    own.on_change(heard.append)
    own.look(0.0)
    assert heard == [HERE]
    assert len(logged_failures) == 1
    logged_failures.clear()
