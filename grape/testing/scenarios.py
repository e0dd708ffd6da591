"""Named scenarios on simulated networks, and what came of them: ``python -m grape.testing.scenarios``."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

import attrs

from grape.service import Grape
from grape.testing.adversaries import Liar, Mirror
from grape.testing.network import MemoryNetwork, host_name, make_grape, make_grapes

KEYS = 150
PEER_PORT = 1_337
# As often as the Node link announces, at least.
ANNOUNCE_SECONDS = 60
CHURN_ENTRIES = 3
CHURN_WARMING_SECONDS = 60


@attrs.frozen
class Outcome:
    """What one run of a scenario showed. Times in virtual seconds."""

    scenario: str
    seed: int
    nodes: int
    loss: float
    killed: float
    # The share of the nodes that is replaced in a minute, all the time.
    churn: float
    lookups: int
    found: int
    times: tuple[float, ...]
    queries_per_lookup: float
    bytes_per_node: float
    trace: str

    def percentile(self, share: float) -> float:
        """The time that this share of the lookups stayed within."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


Scenario = Callable[[int], Outcome]


def wide_area(dice: random.Random) -> float:
    """One way between hosts that are 4 to 100 ms apart, there and back."""
    return 0.002 + 0.048 * dice.random()


def half_second_round_trip(dice: random.Random) -> float:
    """Always the same, so that times are counts of round trips."""
    return 0.05


def deaths(name: str, loss: float, killed: float, nodes: int = 100) -> Scenario:
    """Announce keys, kill a share of the nodes for good, let as many join on other hosts, look every key up once."""

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
    """Cut the network in halves for ten minutes. Services are announced on both sides, before and after it heals; soon
    after that each half finds them all."""

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
    """Nodes die and others join all the time: half of all within ``half_life`` seconds. Each second somebody looks a
    service up, which is announced every minute, elsewhere once its node has died."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area)
        dice = random.Random(seed)
        entries = [f"{host_name(index)}:20001" for index in range(1, CHURN_ENTRIES + 1)]
        grapes = dict(enumerate(make_grapes(network, nodes, dht_bootstrap=entries), 1))
        # Where each service runs, and when it announces again: at first at any time of a minute.
        services = {key: (dice.randrange(1, nodes + 1), dice.uniform(0, ANNOUNCE_SECONDS)) for key in range(KEYS)}
        times: list[float] = []
        found = replaced = queries = 0
        for second in range(seconds):
            network.clock.advance(1)
            # Who is asked to join does not die.
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
    """A share of the nodes answers with inventions."""

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
    """Liars with ids next to every key that is looked up, and mirrors among the nodes."""

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
    """A tenth of the datagrams twice, a tenth late, a fifth of the nodes behind NAT, and one-way links."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=wide_area, loss=0.05, duplication=0.1, reordering=0.1)
        dice = random.Random(seed)
        for index in dice.sample(range(4, nodes + 1), nodes // 5):
            network.put_behind_nat(host_name(index))
        for _ in range(nodes):
            network.block(_any(dice, nodes)[0], _any(dice, nodes)[0])
        # With one entry alone, whoever has a one-way link to it could never join.
        grapes = make_grapes(network, nodes, dht_bootstrap=[f"{host_name(entry)}:20001" for entry in (1, 2, 3)])
        network.clock.advance(60)
        _announce(network, dice, grapes, range(KEYS))
        return _look_up(name, network, dice, grapes, range(KEYS), network.loss, 0)

    return run


def steps(name: str, nodes: int, lookups: int = 200) -> Scenario:
    """No faults: how many round trips a lookup takes."""

    def run(seed: int) -> Outcome:
        network = MemoryNetwork(seed, latency=half_second_round_trip)
        dice = random.Random(seed)
        grapes = make_grapes(network, nodes)
        _announce(network, dice, grapes, range(lookups))
        return _look_up(name, network, dice, grapes, range(lookups), 0, 0)

    return run


SCENARIOS: dict[str, Scenario] = {
    "calm": deaths("calm", 0.0, 0.0),
    "loss": deaths("loss", 0.2, 0.3),
    "harsh": deaths("harsh", 0.3, 0.5),
    "churn": churn("churn", 300),
    "partition": partition("partition"),
    "liars": liars("liars", 0.2),
    "sybils": sybils("sybils"),
    "rough": rough("rough"),
    "steps-1000": steps("steps-1000", 1_000),
    "steps-10000": steps("steps-10000", 10_000),
}


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run scenarios and print a row for each."""
    parser = argparse.ArgumentParser(
        prog="python -m grape.testing.scenarios", description="Simulated networks under fire."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)} [all but the largest]")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each [3]")
    parser.add_argument("--first-seed", type=int, default=1, help="the first run's seed [1]")
    options = parser.parse_args(arguments)
    names = options.names or [name for name in SCENARIOS if name != "steps-10000"]
    for name in names:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    rows: list[tuple[str, ...]] = [
        (
            "scenario",
            "nodes",
            "loss",
            "killed",
            "churn/min",
            "found",
            "p50 ms",
            "p99 ms",
            "queries",
            "bytes/node",
            "trace",
        )
    ]
    total, done = len(names) * options.seeds, 0
    for name in names:
        outcomes = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            outcomes.append(SCENARIOS[name](seed))
            done += 1
            _progress(done, total, name)
        rows.append(_row(outcomes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + "\n")


def _row(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    first = outcomes[0]
    together = attrs.evolve(first, times=tuple(time for outcome in outcomes for time in outcome.times))
    found = sum(outcome.found for outcome in outcomes) / sum(outcome.lookups for outcome in outcomes)
    return (
        first.scenario,
        str(first.nodes),
        f"{first.loss:.0%}",
        f"{first.killed:.0%}",
        f"{fmean(outcome.churn for outcome in outcomes):.0%}",
        f"{found:.2%}",
        f"{together.percentile(0.5) * 1000:.0f}",
        f"{together.percentile(0.99) * 1000:.0f}",
        f"{fmean(outcome.queries_per_lookup for outcome in outcomes):.1f}",
        f"{fmean(outcome.bytes_per_node for outcome in outcomes):.0f}",
        first.trace[:12],
    )


def _progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * (30 * done // total)
        sys.stderr.write(f"\r[{bar:<30}] {done}/{total} {name:<20}" + ("\n" if done == total else ""))
        sys.stderr.flush()


if __name__ == "__main__":
    main()
