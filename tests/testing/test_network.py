"""Tests grape.testing.network: datagrams between hosts in memory, and the faults that may befall them."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.protocol import DatagramProtocol

import grape.testing
from grape import ConfigError
from grape.testing import MemoryNetwork, host_name, make_grape, make_grapes


def test_three_grapes_announce_and_look_up(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    for grape_ in grapes:
        assert network.result(grape_.lookup("rest:util:net")) == ["10.0.0.1:1337"]


@pytest.mark.parametrize(
    ("source", "destination", "seconds"), [(3, 4, 0.001), (1, 3, 0.101), (3, 1, 0.101), (1, 2, 0.111)]
)
def test_delays_of_hosts_are_added_to_the_latency(
    network: MemoryNetwork, source: int, destination: int, seconds: float
) -> None:
    network.delays = {host_name(1): 0.1, host_name(2): 0.01}
    received: list[bytes] = []
    receiver = DatagramProtocol()
    receiver.datagramReceived = lambda datagram, addr: received.append(datagram)  # type: ignore[method-assign]
    network.reactor(host_name(destination)).listenUDP(1, receiver)
    network.send((host_name(source), 1), (host_name(destination), 1), b"datagram")
    network.clock.advance(seconds - 0.0001)
    assert not received
    network.clock.advance(0.0002)
    assert received == [b"datagram"]


def test_make_grape_takes_the_keywords_of_grape(network: MemoryNetwork) -> None:
    made = make_grape(network, 3, dht_port=4_711, dht_bootstrap=["10.0.0.9:1"], max_keys=7)
    assert (made.dht_port, made.config.dht_bootstrap, made.config.max_keys) == (4_711, (("10.0.0.9", 1),), 7)
    with pytest.raises(ConfigError, match="dht_port"):
        make_grape(network, 4, dht_port=-1)


def test_same_seed_gives_the_same_datagrams() -> None:
    def trace(seed: int) -> list[tuple[object, ...]]:
        network = MemoryNetwork(seed, latency=lambda dice: dice.uniform(0.001, 0.1), loss=0.1)
        datagrams: list[tuple[object, ...]] = []
        network.sent = lambda *datagram: datagrams.append(datagram)
        grapes = make_grapes(network, 10)
        network.clock.advance(10)
        network.result(grapes[3].announce("a", 1))
        network.result(grapes[7].lookup("a"))
        return [*datagrams, (network.trace,)]

    assert trace(7) == trace(7)
    assert trace(7)[-1] != trace(8)[-1]


def test_result_raises_the_failure_or_timeout_error(network: MemoryNetwork) -> None:
    failing: Deferred[None] = Deferred()
    network.clock.callLater(1, failing.errback, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        network.result(failing)
    with pytest.raises(TimeoutError, match=r"within 5 virtual seconds \(seed 1\)"):
        network.result(Deferred[None](), seconds=5)


def test_reactor_refuses_a_taken_port_and_an_unknown_name(network: MemoryNetwork) -> None:
    reactor = network.reactor("10.0.0.1")
    reactor.listenUDP(20_001, DatagramProtocol())
    with pytest.raises(CannotListenError):
        reactor.listenUDP(20_001, DatagramProtocol())
    assert reactor.listenUDP(0, DatagramProtocol()).address != ("10.0.0.1", 20_001)
    network.names["grape.example"] = "10.0.0.1"
    assert network.result(reactor.resolve("grape.example")) == "10.0.0.1"
    with pytest.raises(DNSLookupError):
        network.result(reactor.resolve("other.example"))


def test_host_names_are_distinct() -> None:
    assert [host_name(index) for index in (1, 255, 256, 70_000)] == [
        "10.0.0.1",
        "10.0.0.255",
        "10.0.1.0",
        "10.1.17.112",
    ]


def test_node_behind_nat_asks_but_is_not_asked(network: MemoryNetwork) -> None:
    network.put_behind_nat("10.0.0.3")
    grapes = make_grapes(network, 3)
    network.clock.advance(10)
    assert network.result(grapes[2].announce("a", 1)) == 2
    assert network.result(grapes[1].lookup("a")) == ["10.0.0.3:1"]


def test_link_blocked_in_one_direction_is_dead_until_it_heals(network: MemoryNetwork) -> None:
    first = make_grape(network, 1)
    network.block("10.0.0.1", "10.0.0.2")
    second = make_grape(network, 2)
    network.clock.advance(5)
    assert second.stats().contacts == 0
    network.heal()
    network.clock.advance(10)
    assert (first.stats().contacts, second.stats().contacts) == (1, 1)


def test_killed_host_comes_back_under_a_new_id(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    old = grapes[2].stats().node_id
    network.kill("10.0.0.3")
    network.clock.advance(1)
    again = make_grape(network, 3)
    network.clock.advance(5)
    assert again.stats().node_id != old
    assert network.result(grapes[1].announce("a", 1)) == 2


def test_killed_host_is_called_no_more(network: MemoryNetwork) -> None:
    seen: list[int] = []
    network.reactor("10.0.0.1").callLater(2, seen.append, 1)
    network.reactor("10.0.0.2").callLater(2, seen.append, 2)
    network.kill("10.0.0.1")
    network.clock.advance(5)
    assert seen == [2]


def test_duplicated_and_reordered_datagrams_change_nothing(network: MemoryNetwork) -> None:
    network.duplication = network.reordering = 0.5
    grapes = make_grapes(network, 8)
    network.clock.advance(10)
    assert network.result(grapes[0].announce("a", 1)) == 7
    assert network.result(grapes[5].lookup("a")) == ["10.0.0.1:1"]
    assert all(grape_.stats().counters["faults"] == 0 for grape_ in grapes)


def test_example_of_the_documentation_runs() -> None:
    lines = (grape.testing.__doc__ or "").splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    names: dict[str, object] = {}
    exec(compile(example, str(Path(grape.testing.__file__)), "exec"), names)
    network = names["network"]
    assert isinstance(network, MemoryNetwork)
    assert network.clock.seconds() > 60


def test_ports_count_the_bytes_that_they_send(network: MemoryNetwork) -> None:
    sent: list[int] = []
    network.sent = lambda source, destination, datagram: sent.append(len(datagram))
    make_grapes(network, 2)
    assert sum(port.bytes_sent for port in network.ports.values()) == sum(sent) > 0
    assert network.datagrams == len(sent)
