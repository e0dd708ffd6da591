"""Tests rings of ours and of npm's grenache-grape, on one network and on two: ours must harm npm's in nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from gauntlet.hosts.common import (
    Checked,
    announce_all,
    check_lookups,
    complaints,
    half_and_half,
    hosts_row,
    lookup_times,
    nodes,
    wait_for,
    whole,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.lab import Lab, Network, route
from gauntlet.row import Finding, Run, judge, ms

EACH = 3
LOOKUPS = 60
WARM_LOOKUPS = 10
ITEMS = 3
# Its lookups in a mixed ring may take this much longer than among its own kind, as a factor and in seconds.
NOISE_FACTOR = 1.5
NOISE_SECONDS = 0.003


def one_network(run: Run) -> Finding:
    """Measures three of theirs alone with three more of theirs, then with three of ours, on one network."""
    with Lab() as lab:
        return _compared(lab, *((lab.network(),) * 2 for _ in range(2)))


def two_networks(run: Run) -> Finding:
    """Does the same with three on each of two networks, which a router joins."""
    with Lab() as lab:
        return _compared(lab, *((lab.network(), lab.network()) for _ in range(2)))


def _compared(lab: Lab, alone: tuple[Network, Network], mixed: tuple[Network, Network]) -> Finding:
    """Measures a ring of theirs, then a mixed one, each on a pair of networks."""
    ring = _ring(lab, *alone, node=True)
    before, checked_alone = _p50(ring), _check(ring)
    for grape in ring:
        grape.kill()
    ring = _ring(lab, *mixed, node=False)
    after, checked = _p50(ring), _check(ring)
    bad = complaints(ring)
    return judge(
        {
            "theirs alone p50 ms": ms(before),
            "right": checked_alone.text,
            "theirs with ours p50 ms": ms(after),
            "right with ours": checked.text,
            "errors logged": len(bad),
        },
        {
            "no slower than alone": after <= max(before * NOISE_FACTOR, before + NOISE_SECONDS),
            "all answers right": checked.ok,
            "no error logged": not bad,
        },
    )


def _ring(lab: Lab, first: Network, second: Network, node: bool) -> list[LabGrape]:
    """Starts three on the first network, of theirs if ``node``, and three of theirs on the second; each knows all."""
    places = [(first, 1 + number) for number in range(EACH)] + [(second, 11 + number) for number in range(EACH)]
    if first != second:
        lab.router(first, second)
    own = [network.address(last) for network, last in places]
    grapes = []
    for number, (network, last) in enumerate(places):
        host = lab.host(network=network, last=last)
        if first != second:
            route(host, network)
        others = nodes(*(f"{address}:20001" for address in own if address != own[number]))
        grapes.append(LabGrape(host, own[number], *others, node=node or number >= EACH))
    wait_for(grapes)
    whole(grapes)
    return grapes


def _p50(ring: Sequence[LabGrape]) -> float:
    """Measures lookups at the last three, which are theirs; returns the median of their medians, in seconds."""
    announced = announce_all(ring, "timed", each=2)
    medians = []
    for grape in ring[EACH:]:
        lookup_times(grape, half_and_half(announced, WARM_LOOKUPS))
        medians.append(statistics.median(lookup_times(grape, half_and_half(announced, LOOKUPS))))
    return statistics.median(medians)


def _check(ring: Sequence[LabGrape]) -> Checked:
    """Announces and puts at all, and checks what the last three, which are theirs, answer and give to others."""
    checked, theirs = Checked(), ring[EACH:]
    told = len(ring) - 1
    for grape in theirs:
        checked.check(f"announce at {grape.node}", grape.announce(f"told:{grape.node}", 1), told)
    check_lookups(theirs, announce_all(ring, "checked", each=2), checked)
    for number, grape in enumerate(ring):
        for count in range(ITEMS):
            value = f"item {number} {count}"
            hash = grape.call("put", value).value
            for asked in ring if grape.is_node else theirs:
                answer = asked.call("get", hash).value
                checked.check(f"get at {asked.node}", answer.get("v") if isinstance(answer, dict) else answer, value)
    return checked


ROWS = (
    hosts_row(
        "hosts-mixed",
        "three of ours and three of npm's, on six hosts",
        "theirs: all answers right, no slower than six of theirs (half more, or 3 ms)",
        one_network,
        alone=True,
        node=True,
    ),
    hosts_row(
        "hosts-mixed-two-subnets",
        "the same, ours and theirs on two networks",
        "the same",
        two_networks,
        alone=True,
        node=True,
    ),
)
