"""Measures rings with members behind address translation or in two networks, which not every member reaches."""

from __future__ import annotations

from collections.abc import Sequence

from gauntlet.hosts.common import (
    P50_SECONDS,
    Checked,
    announce_all,
    check_lookups,
    complaints,
    hosts_row,
    nodes,
    settled_p50,
    wait_for,
    whole,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.lab import ROUTER, Lab, route, translate
from gauntlet.row import Finding, Run, judge, ms

PUBLISHED_PORT = 20_011


def published_port(run: Run) -> Finding:
    """Lets others join through a published port of a router, whose number is not the grape's own."""
    with Lab() as lab:
        outside, inside = lab.network(), lab.network()
        container = lab.host(network=inside, last=2)
        router = lab.router(outside, inside)
        route(container, inside)
        translate(router, "eth0", "eth1", published=(PUBLISHED_PORT, inside.address(2), 20_001))
        # The others meet it in two ways: at the published port, and at the port that the router gives to what it sends.
        third = f"{outside.address(3)}:20001"
        hidden = LabGrape(container, outside.address(ROUTER), *nodes(third))
        hidden.wait()
        published = f"{outside.address(ROUTER)}:{PUBLISHED_PORT}"
        grapes = [LabGrape(lab.host(network=outside, last=1), outside.address(1), *nodes(published))]
        whole([grapes[0]], 1)
        for last in (2, 3):
            host = lab.host(network=outside, last=last)
            grapes.append(LabGrape(host, outside.address(last), *nodes(grapes[0])))
        return _measured([*grapes, hidden])


def nat_sibling(run: Run) -> Finding:
    """Puts two grapes behind one router, which does not send back in what leaves for its own address."""
    with Lab() as lab:
        outside, inside = lab.network(), lab.network()
        hidden = [lab.host(network=inside, last=last) for last in (1, 2)]
        router = lab.router(outside, inside)
        for host in hidden:
            route(host, inside)
        translate(router, "eth0", "eth1")
        first = LabGrape(lab.host(network=outside, last=1), outside.address(1))
        grapes = [first, LabGrape(lab.host(network=outside, last=2), outside.address(2), *nodes(first))]
        grapes += [LabGrape(host, outside.address(ROUTER), *nodes(*grapes)) for host in hidden]
        # The siblings do not reach each other.
        return _measured(grapes, reached=[3, 3, 2, 2])


def two_subnets(run: Run) -> Finding:
    """Gives one of five addresses in both of two networks, which a router joins."""
    with Lab() as lab:
        left, right = lab.network(), lab.network()
        lab.router(left, right)
        both = lab.host(network=left, last=9)
        lab.attach(both, right, 9)
        middle = LabGrape(both, left.address(9))
        grapes = [middle]
        for network in (left, right):
            for last in (1, 2):
                host = lab.host(network=network, last=last)
                route(host, network)
                # Each joins through the address that is in its own network.
                grapes.append(LabGrape(host, network.address(last), *nodes(f"{network.address(9)}:{middle.dht}")))
        return _measured(grapes, alias=right.address(9))


def _measured(grapes: Sequence[LabGrape], *, reached: Sequence[int] = (), alias: str = "") -> Finding:
    """Waits until each reaches so many others, by default all, and measures the lookups of each.

    Each service must be listed at one address. The first grape's may be listed at ``alias``, too, its other address.
    """
    wait_for(grapes)
    for grape, others in zip(grapes, reached or [len(grapes) - 1] * len(grapes), strict=True):
        whole([grape], others)
    announced = announce_all(grapes, "nat")
    p50 = settled_p50(grapes, announced)
    found = Checked()
    if alias:
        name, address = next(iter(announced.items()))
        both = {address, address.replace(grapes[0].address, alias)}
        for grape in grapes:
            listed = set(grape.call("lookup", name).value)
            found.check(f"{name} at {grape.node}", sorted(listed - both) if listed else "nothing", [])
        del announced[name]
    check_lookups(grapes, announced, found)
    bad = complaints(grapes)
    return judge(
        {
            "p50 ms": ", ".join(f"{ms(each):g}" for each in p50),
            "right": found.text,
            "errors logged": len(bad),
        },
        {"p50 < 10 ms at each": max(p50) < P50_SECONDS, "all right": found.ok, "no error logged": not bad},
    )


ROWS = (
    hosts_row(
        "hosts-published-port",
        "a grape behind a published port (20011 to 20001), one joined through it, two more",
        "p50 of lookups < 10 ms at each",
        published_port,
        alone=True,
    ),
    hosts_row(
        "hosts-nat-sibling",
        "two grapes behind one address-translating router, two outside",
        "p50 of lookups < 10 ms at each",
        nat_sibling,
        alone=True,
    ),
    hosts_row(
        "hosts-two-subnets",
        "a grape with addresses in two networks, two others in each",
        "p50 of lookups < 10 ms at each",
        two_subnets,
        alone=True,
    ),
)
