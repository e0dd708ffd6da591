"""Measures rings with a member that is 400 ms away, behind a router that delays: alive, and dead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gauntlet.hosts.common import (
    LANES,
    Checked,
    all_listed,
    announce_all,
    check_lookups,
    complaints,
    hosts_row,
    lookup_times,
    nodes,
    seconds_until,
    wait_for,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.host import Host
from gauntlet.lab.lab import Lab, route
from gauntlet.row import Finding, Run, judge, ms, percentile

ONE_WAY_SECONDS = 0.2
NEAR = 5
ITEMS = 50
LOOKUPS = 60
P50_SECONDS = 0.15
DEAD_SECONDS = 0.3
SETTLE_SECONDS = 5.0


def far(run: Run) -> Finding:
    """Lets five near ones join a far one that holds items and services; measures theirs, and looks for its own."""
    with Lab() as lab:
        grape, near = _hosts(lab)
        # Nobody else has these until the far one tells: it is alone.
        own = {grape.call("put", f"far item {number}").value: f"far item {number}" for number in range(ITEMS)}
        for member in near:
            member.wait()
        all_listed([grape, *near])
        items = Checked()
        for number, member in enumerate(near):
            asked = list(own)[number::NEAR]
            answers = member.calls([("get", hash) for hash in asked], lanes=LANES)
            for hash, answer in zip(asked, answers, strict=True):
                found = answer.value.get("v") if isinstance(answer.value, dict) else answer.value
                items.check(f"{hash} at {member.node}", found, own[hash])
        announced = announce_all(near, "near", each=10) | announce_all([grape], "far", each=ITEMS)
        times = _p50s(near, list(announced)[:LOOKUPS])
        late = check_lookups(near[:1], {name: where for name, where in announced.items() if name.startswith("far")})
        others = {name: where for name, where in announced.items() if name.startswith("near:")}
        # Their announces were answered before the far one got them.
        seconds_until(lambda: _stored(grape, others).ok, time.monotonic(), SETTLE_SECONDS)
        there = _stored(grape, others)
        bad = complaints([grape, *near])
    return judge(
        {
            "p50 ms": ms(max(times)),
            "its items": items.text,
            "its announces": late.text,
            "others' announces, stored there": there.text,
            "errors logged": len(bad),
        },
        {
            "p50 of the others < 150 ms": max(times) < P50_SECONDS,
            "its items all found": items.ok,
            "its announces all found": late.ok,
            "others' announces all stored there": there.ok,
            "no error logged": not bad,
        },
    )


def far_dead(run: Run) -> Finding:
    """Takes the link of the far one down, and measures the first lookup at each of the others."""
    with Lab() as lab:
        grape, near = _hosts(lab)
        wait_for(near)
        all_listed([grape, *near])
        announced = announce_all(near, "near", each=4)
        _p50s(near, list(announced))
        time.sleep(SETTLE_SECONDS)
        grape.host.ip("link set tun0 down")
        firsts = [lookup_times(member, [name])[0] for member, name in zip(near, announced, strict=False)]
        checked = check_lookups(near, announced)
        bad = complaints(near)
    return judge(
        {"first ms": ms(max(firsts)), "right": checked.text, "errors logged": len(bad)},
        {"first lookup < 300 ms": max(firsts) < DEAD_SECONDS, "all right": checked.ok, "no error logged": not bad},
    )


def _p50s(grapes: Sequence[LabGrape], names: Sequence[str]) -> list[float]:
    """Looks names up at all grapes at the same time, one after another at each; returns the p50 of each, in seconds."""
    with ThreadPoolExecutor(len(grapes)) as pool:
        return list(pool.map(lambda grape: percentile(lookup_times(grape, names), 0.5), grapes))


def _stored(grape: LabGrape, announced: dict[str, str]) -> Checked:
    """Checks which announces a grape itself stores."""
    checked = Checked()
    for name, address in announced.items():
        answer = grape.ask(grape.host, b"get_peers", info_hash=name.encode())
        checked.check(name, set() if answer is None else answer.peers, {address})
    return checked


def _hosts(lab: Lab) -> tuple[LabGrape, Sequence[LabGrape]]:
    """Starts a far grape, which serves, and near ones, which join through it and each other."""
    network = lab.network()
    router = lab.router(network)
    host, address = lab.far_host(router, ONE_WAY_SECONDS)
    grape = LabGrape(host, address)
    grape.wait()
    hosts: list[Host] = []
    for last in range(1, 1 + NEAR):
        hosts.append(lab.host(network=network, last=last))
        route(hosts[-1], network)
    own = [network.address(last) for last in range(1, 1 + NEAR)]
    near = [
        LabGrape(each, own[number], *nodes(grape, *(f"{other}:20001" for other in own if other != own[number])))
        for number, each in enumerate(hosts)
    ]
    return grape, near


ROWS = (
    hosts_row(
        "hosts-far",
        "five hosts, and one that is 400 ms away and holds 50 items of its own",
        "p50 of the five < 150 ms; its items and announces found 50 of 50",
        far,
        alone=True,
    ),
    hosts_row(
        "hosts-far-dead",
        "the same, and the link of the far one goes down",
        "first lookup of each < 300 ms",
        far_dead,
        alone=True,
    ),
)
