"""Simulates networks under faults and attacks, and measures the lookups in them.

Each function returns a ``Scenario``: called with a seed, it runs once and returns the ``Outcome``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import attrs

from grape.service import Grape
from grape.testing.adversaries import Liar, Mirror
from grape.testing.network import MemoryNetwork, host_name, make_grape, make_grapes

KEYS = 150
PEER_PORT = 1_337
# The Node link announces at least this often.
ANNOUNCE_SECONDS = 60
CHURN_ENTRIES = 3
CHURN_WARMING_SECONDS = 60


@attrs.frozen
class Outcome:
    """Holds the measurements of one run of a scenario."""

    scenario: str
    seed: int
    nodes: int
    #: Share of the datagrams that were lost, 0 to 1.
    loss: float
    #: Share of the nodes that were killed before the lookups, 0 to 1.
    killed: float
    #: Share of the nodes that was replaced each minute, 0 to 1.
    churn: float
    lookups: int
    #: Lookups that returned the announced peer.
    found: int
    #: How long each lookup took, in virtual seconds.
    times: tuple[float, ...]
    queries_per_lookup: float
    bytes_per_node: float
    #: ``MemoryNetwork.trace`` at the end.
    trace: str

    def percentile(self, share: float) -> float:
        """Returns the virtual seconds within which this share of the lookups, 0 to 1, ended."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


Scenario = Callable[[int], Outcome]


def wide_area(dice: random.Random) -> float:
    """Returns a random latency of 2 to 50 ms, in seconds: a round trip takes 4 to 100 ms."""
    return 0.002 + 0.048 * dice.random()


def tenth_second_round_trip(dice: random.Random) -> float:
    """Returns 0.05 s for each direction, so that a time divided by 0.1 s counts round trips."""
    return 0.05


def deaths(name: str, loss: float, killed: float, nodes: int = 100) -> Scenario:
    """Announces 150 names, kills a share of the nodes, lets as many new ones join, and looks every name up once.

    ``loss`` and ``killed`` are shares from 0 to 1, of the datagrams all the time and of the nodes.
    """

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area, loss=loss)
        dice = random.Random(seed)
        grapes = make_grapes(network, nodes)
        network.clock.advance(20)
        _announce(network, dice, grapes, range(KEYS))
        victims = dice.sample(range(1, nodes), round(nodes * killed))
        for victim in victims:
            network.kill(host_name(victim + 1))
        for number, victim in enumerate(victims, nodes + 1):
            grapes[victim] = make_grape(network, number)
        network.clock.advance(1)
        return _look_up(name, network, dice, grapes, range(KEYS), loss, killed)

    return run


def partition(name: str, nodes: int = 60) -> Scenario:
    """Cuts the network in halves for ten minutes; each half then looks up all names, announced in either of them.

    Half of the names are announced near the end of the partition, the others within a minute and a half after it.
    """

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area)
        dice = random.Random(seed)
        grapes = make_grapes(network, nodes)
        halves = grapes[::2], grapes[1::2]
        network.clock.advance(60)
        network.partition([host_name(index + 1) for index in range(0, nodes, 2)])
        network.clock.advance(550)
        for side in (0, 1):
            _announce(network, dice, halves[side], range(side, KEYS // 2, 2))
        network.clock.advance(50)
        network.heal()
        network.clock.advance(60)
        for side in (0, 1):
            _announce(network, dice, halves[side], range(KEYS // 2 + side, KEYS, 2))
        network.clock.advance(20)
        first = _look_up(name, network, dice, halves[0], range(KEYS), 0, 0)
        second = _look_up(name, network, dice, halves[1], range(KEYS), 0, 0)
        return attrs.evolve(
            second,
            nodes=nodes,
            lookups=first.lookups + second.lookups,
            found=first.found + second.found,
            times=first.times + second.times,
        )

    return run


def churn(name: str, half_life: float, nodes: int = 100, seconds: int = 600) -> Scenario:
    """Replaces nodes all the time, half of them within ``half_life`` seconds, and looks up one name each second.

    Every name is announced once a minute; when the node that announces it dies, another one takes over.
    """

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area)
        dice = random.Random(seed)
        entries = [f"{host_name(index)}:20001" for index in range(1, CHURN_ENTRIES + 1)]
        grapes = dict(enumerate(make_grapes(network, nodes, dht_bootstrap=entries), 1))
        # The host that announces each name, and the second of its next announce: the first ones spread over a minute.
        services = {key: (dice.randrange(1, nodes + 1), dice.uniform(0, ANNOUNCE_SECONDS)) for key in range(KEYS)}
        times: list[float] = []
        found = replaced = queries = 0
        for second in range(seconds):
            network.clock.advance(1)
            # The nodes that others join through are never killed.
            for index in [index for index in grapes if index > CHURN_ENTRIES]:
                if dice.random() < 1 - 0.5 ** (1 / half_life):
                    network.kill(host_name(index))
                    del grapes[index]
                    replaced += 1
                    newcomer = nodes + replaced
                    grapes[newcomer] = make_grape(network, newcomer, dht_bootstrap=entries)
            for key in range(KEYS):
                home, at = services[key]
                if home not in grapes:
                    home, at = dice.choice(list(grapes)), 0.0
                if second >= at:
                    services[key] = (home, second + ANNOUNCE_SECONDS)
                    grapes[home].announce(_name(key), PEER_PORT + key).addErrback(lambda _: None)
            if second < CHURN_WARMING_SECONDS:
                continue
            key, asked = dice.randrange(KEYS), grapes[dice.choice(list(grapes))]
            start, before = network.clock.seconds(), _queries([asked])
            peers = network.result(asked.lookup(_name(key)))
            times.append(network.clock.seconds() - start)
            queries += _queries([asked]) - before
            found += f"{host_name(services[key][0])}:{PEER_PORT + key}" in peers
        return Outcome(
            scenario=name,
            seed=seed,
            nodes=nodes,
            loss=0.0,
            killed=0.0,
            churn=replaced / nodes / (seconds / 60),
            lookups=len(times),
            found=found,
            times=tuple(times),
            queries_per_lookup=queries / len(times),
            bytes_per_node=_bytes_per_node(network),
            trace=network.trace,
        )

    return run


def liars(name: str, share: float, nodes: int = 100) -> Scenario:
    """Lets a share of the nodes answer every query with fake nodes and fake peers."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area)
        dice = random.Random(seed)
        honest = round(nodes * (1 - share))
        grapes = make_grapes(network, honest)
        for index in range(honest + 1, nodes + 1):
            reactor = network.reactor(host_name(index))
            reactor.listenUDP(20_001, Liar(reactor, random.Random(dice.random()), _any(dice, honest)))
        network.clock.advance(130)
        _announce(network, dice, grapes, range(KEYS))
        return attrs.evolve(_look_up(name, network, dice, grapes, range(KEYS), 0, 0), nodes=nodes)

    return run


def sybils(name: str, number: int = 20, nodes: int = 100) -> Scenario:
    """Adds liars whose node ids are close to names that are looked up, and as many mirrors."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area)
        dice = random.Random(seed)
        grapes = make_grapes(network, nodes)
        for index in range(nodes + 1, nodes + 1 + number):
            reactor = network.reactor(host_name(index))
            near = _name(dice.randrange(KEYS)).encode()
            reactor.listenUDP(20_001, Liar(reactor, random.Random(dice.random()), _any(dice, nodes), near))
            network.reactor(host_name(index + number)).listenUDP(20_001, Mirror())
        network.clock.advance(130)
        _announce(network, dice, grapes, range(KEYS))
        return _look_up(name, network, dice, grapes, range(KEYS), 0, 0)

    return run


def rough(name: str, nodes: int = 100) -> Scenario:
    """Loses, doubles and delays datagrams, puts a fifth of the nodes behind NAT, and blocks links in one direction."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area, loss=0.05, duplication=0.1, reordering=0.1)
        dice = random.Random(seed)
        for index in dice.sample(range(4, nodes + 1), nodes // 5):
            network.put_behind_nat(host_name(index))
        for _ in range(nodes):
            network.block(_any(dice, nodes)[0], _any(dice, nodes)[0])
        # With one node to join through, a node whose link to it is blocked could never join.
        grapes = make_grapes(network, nodes, dht_bootstrap=[f"{host_name(entry)}:20001" for entry in (1, 2, 3)])
        network.clock.advance(60)
        _announce(network, dice, grapes, range(KEYS))
        return _look_up(name, network, dice, grapes, range(KEYS), network.loss, 0)

    return run


def steps(name: str, nodes: int, lookups: int = 200) -> Scenario:
    """Looks names up in a network without faults, in which times count round trips."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=tenth_second_round_trip)
        dice = random.Random(seed)
        grapes = make_grapes(network, nodes)
        _announce(network, dice, grapes, range(lookups))
        return _look_up(name, network, dice, grapes, range(lookups), 0, 0)

    return run


def _announce(network: MemoryNetwork, dice: random.Random, grapes: Sequence[Grape], keys: Iterable[int]) -> None:
    for key in keys:
        announced = dice.choice(grapes).announce(_name(key), PEER_PORT + key)
        announced.addErrback(lambda _: None)
        network.result(announced)


def _look_up(
    name: str,
    network: MemoryNetwork,
    dice: random.Random,
    grapes: Sequence[Grape],
    keys: Iterable[int],
    loss: float,
    killed: float,
) -> Outcome:
    times: list[float] = []
    found = 0
    before = _queries(grapes)
    for key in keys:
        start = network.clock.seconds()
        peers = network.result(dice.choice(grapes).lookup(_name(key)))
        times.append(network.clock.seconds() - start)
        found += any(peer.endswith(f":{PEER_PORT + key}") for peer in peers)
    return Outcome(
        scenario=name,
        seed=network.seed,
        nodes=len(grapes),
        loss=loss,
        killed=killed,
        churn=0.0,
        lookups=len(times),
        found=found,
        times=tuple(times),
        queries_per_lookup=(_queries(grapes) - before) / len(times),
        bytes_per_node=_bytes_per_node(network),
        trace=network.trace,
    )


def _bytes_per_node(network: MemoryNetwork) -> float:
    return sum(port.bytes_sent for port in network.ports.values()) / len(network.ports)


def _any(dice: random.Random, nodes: int) -> tuple[str, int]:
    return host_name(dice.randrange(1, nodes + 1)), 20_001


def _queries(grapes: Iterable[Grape]) -> int:
    return sum(grape.stats().counters["queries_out"] for grape in grapes)


def _name(key: int) -> str:
    return f"service:{key * 2_654_435_761 % 2**32:08x}"
