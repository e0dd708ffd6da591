"""grape.node.own_address: the interface's address, or what a majority of contacts say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent

from grape.dht.bencoding import BValue, encode
from grape.dht.compact import Address, encode_peer
from grape.dht.messages import Query, decode, encode_response, querier_of
from grape.node.own_address import (
    LOOK_SECONDS,
    MAX_VOTES,
    READ_AT_ONCE,
    VOTE_SECONDS,
    AddressWatch,
    OwnAddress,
    interface_of,
)
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote

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


# The watch


class Teller(Remote):
    """A node that sees everybody at the address that the test says."""

    ip: BValue = encode_peer((OUTSIDE, 20_001))

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        message = decode(datagram)
        assert isinstance(message, Query)
        assert isinstance(message.transaction_id, bytes)
        self.heard.append(message)
        self.send(encode({b"ip": self.ip, b"r": {b"id": self.id}, b"t": message.transaction_id, b"y": b"r"}), addr)


@pytest.fixture
def bare(network: MemoryNetwork) -> Bare:
    return Bare(network)


@pytest.fixture
def watch(own: OwnAddress, bare: Bare) -> Iterator[AddressWatch]:
    watch = AddressWatch(bare.network.clock, own)
    watch.start(bare.protocol)
    yield watch
    watch.stop()


def ask(bare: Bare, *tellers: Remote) -> None:
    for teller in tellers:
        bare.protocol.ping(teller.address).addErrback(lambda _: None)
    bare.network.clock.advance(LOOK_SECONDS)


@pytest.mark.usefixtures("watch")
def test_watch_tells_the_protocol_the_address_at_once_and_follows_it(
    own: OwnAddress, bare: Bare, interface: Interface
) -> None:
    assert own.host == bare.protocol.own_host == HERE
    interface.address = "10.1.0.55"
    bare.network.clock.advance(LOOK_SECONDS)
    assert own.host == bare.protocol.own_host == "10.1.0.55"


@pytest.mark.usefixtures("watch")
def test_watch_takes_the_votes_of_contacts_alone(own: OwnAddress, bare: Bare) -> None:
    tellers = [Teller(bare.network, f"9.0.0.{number}") for number in range(1, 4)]
    # They are contacts only once they have answered.
    ask(bare, *tellers)
    assert own.host == HERE
    ask(bare, *tellers)
    assert own.host == OUTSIDE


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("ip", [b"", b"short", 7, [], encode_peer(("127.0.0.1", 1)), bytes(18)])
def test_watch_ignores_an_answer_without_a_usable_address(own: OwnAddress, bare: Bare, ip: BValue) -> None:
    tellers = [Teller(bare.network, f"9.0.0.{number}") for number in range(1, 4)]
    bare.knows(*tellers)
    for teller in tellers:
        teller.ip = ip
    ask(bare, *tellers)
    assert own.host == HERE


@pytest.mark.usefixtures("watch")
def test_watch_reads_few_answers_after_each_look(bare: Bare) -> None:
    tellers = [Teller(bare.network, f"9.0.0.{number}") for number in range(1, READ_AT_ONCE + 1)]
    for teller in tellers:
        bare.protocol.ping(teller.address)
    assert bare.protocol.intercept is not None
    bare.network.clock.advance(LOOK_SECONDS / 2)
    assert bare.protocol.intercept is None
    bare.network.clock.advance(LOOK_SECONDS / 2)
    assert bare.protocol.intercept is not None


def test_watch_that_was_stopped_looks_no_more(
    own: OwnAddress, bare: Bare, watch: AddressWatch, interface: Interface
) -> None:
    watch.stop()
    interface.address = "10.1.0.55"
    ask(bare, Teller(bare.network, "9.0.0.1"))
    assert own.host == HERE


def test_interface_is_the_bound_address_or_that_of_the_host(network: MemoryNetwork) -> None:
    reactor = network.reactor("10.0.0.7")
    assert [interface_of(reactor, bound)() for bound in ("0.0.0.0", "10.0.0.8")] == ["10.0.0.7", "10.0.0.8"]


def test_querier_is_read_from_a_response_alone() -> None:
    querier = encode_peer((OUTSIDE, 1))
    assert querier_of(encode_response(b"aa", {b"id": bytes(20)}, querier)) == querier
    for datagram in (b"", b"le", b"de", b"d2:ipi1ee", b"d2:ip"):
        assert querier_of(datagram) is None
