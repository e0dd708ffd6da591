"""Tests rings on one network: each on a host of its own, two on a host, a lone one, and all behind one name."""

from __future__ import annotations

import time

from gauntlet.hosts.common import (
    P50_SECONDS,
    PATIENCE_SECONDS,
    Checked,
    announce_all,
    check_lookups,
    complaints,
    hosts_row,
    loopback_in,
    nodes,
    seconds_until,
    settled_p50,
    start_ring,
    told_over_dht,
    wait_for,
    whole,
    whole_after,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.lab import Lab, Network
from gauntlet.row import Finding, Run, judge, ms

NAME = "ring.test"
NAMED_SECONDS = 10.0
SETTLE_SECONDS = 10.0
LOOKS = 20


def six(run: Run) -> Finding:
    """Announces at each of six, and looks all up at each."""
    with Lab() as lab:
        grapes = start_ring(lab, lab.network(), 6)
        checked = check_lookups(grapes, announce_all(grapes, "six"))
        bad = complaints(grapes)
    return judge(
        {"right": checked.text, "errors logged": len(bad)},
        {"all right": checked.ok, "no error logged": not bad},
    )


def lone(run: Run) -> Finding:
    """Announces at a grape without others, asks from other hosts and a read-only member, and lets two more join."""
    alone, joined, told = Checked(), Checked(), 0
    with Lab() as lab:
        near, far = lab.network(), lab.network()
        first, second, third = (lab.host(network=near, last=last) for last in (1, 2, 3))
        lab.attach(first, far, 1)
        outside = lab.host(network=far, last=2)
        grape = LabGrape(first, near.address(1))
        grape.wait()
        grape.announce("lone", 5_000)
        wanted = {"lone": f"{near.address(1)}:5000"}
        here = grape.call("lookup", "lone").value
        alone.check("instances for the own host", len(here), 1)
        for host, network in ((second, near), (outside, far)):
            answer = host.call(network.address(1), grape.api, "lookup", "lone").value
            alone.check(f"over HTTP from {network.address(0)}", answer, [f"{network.address(1)}:5000"])
            told += loopback_in(answer)
        answer = told_over_dht(grape, second, "lone")
        told += loopback_in(answer)
        alone.check("over the DHT", answer, [wanted["lone"]])
        reader = LabGrape(third, near.address(3), "--read-only", *nodes(grape))
        reader.wait()
        alone.check("at a read-only member", reader.call("lookup", "lone").value, [wanted["lone"]])
        reader.stop()
        others = [LabGrape(host, near.address(last), *nodes(grape)) for last, host in ((2, second), (3, third))]
        wait_for(others)
        whole([grape, *others])

        def all_right() -> bool:
            nonlocal joined, told
            joined = check_lookups(others, wanted)
            remote = grape.call("lookup", "lone", at=second).value
            joined.check("at the first, from the second", remote, [wanted["lone"]])
            for answer in (remote, *(other.call("lookup", "lone").value for other in others)):
                told += loopback_in(answer)
            for member in (grape, *others):
                told += loopback_in(told_over_dht(member, third if member.host is second else second, "lone"))
            return joined.ok

        for _ in range(LOOKS):
            all_right()
        seconds_until(all_right, time.monotonic(), SETTLE_SECONDS)
        bad = complaints([grape, *others])
    return judge(
        {"alone right": alone.text, "joined right": joined.text, "loopback told": told, "errors logged": len(bad)},
        {
            "all right alone": alone.ok,
            "all right when joined": joined.ok,
            "no loopback address at another host": told == 0,
            "no error logged": not bad,
        },
    )


def two_on_one(run: Run) -> Finding:
    """Starts two on the first host, the second through 127.0.0.1, and two on other hosts."""
    told = 0
    with Lab() as lab:
        network = lab.network()
        both, *rest = (lab.host(network=network, last=last) for last in (1, 2, 3))
        first = LabGrape(both, network.address(1))
        first.wait()
        others = [LabGrape(host, network.address(last), *nodes(first)) for last, host in ((2, rest[0]), (3, rest[1]))]
        second = LabGrape(both, network.address(1), *nodes("127.0.0.1:20001"), dht=20_002, api=30_002)
        grapes = [first, second, *others]
        wait_for(grapes)
        whole(grapes)
        announced = announce_all(grapes, "two")
        p50 = max(settled_p50(others, announced))
        checked = check_lookups(others, announced)
        for host in rest:
            for name in announced:
                for grape in grapes:
                    told += loopback_in(grape.call("lookup", name, at=host).value)
                    told += loopback_in(told_over_dht(grape, host, name))
        bad = complaints(grapes)
    return judge(
        {"right": checked.text, "loopback told": told, "p50 ms": ms(p50), "errors logged": len(bad)},
        {
            "all right at other hosts": checked.ok,
            "no loopback address at another host": told == 0,
            "p50 < 10 ms": p50 < P50_SECONDS,
            "no error logged": not bad,
        },
    )


def names(run: Run) -> Finding:
    """Starts rings behind a name with four addresses, one dead: in one order, and in one for each host."""
    with Lab() as lab:
        rings = [(order, lab.network()) for order in ("fixed", "rotated")]
        taken = {order: _behind_a_name(lab, network, order == "rotated") for order, network in rings}
    figures = {f"{order} s": round(seconds, 2) for order, seconds in taken.items()}
    return judge(
        figures, {f"{order} <= {NAMED_SECONDS:g} s": seconds <= NAMED_SECONDS for order, seconds in taken.items()}
    )


def _behind_a_name(lab: Lab, network: Network, rotated: bool) -> float:
    """Starts three of four grapes that have a name, and one that has not; returns the seconds until all know all."""
    named = [network.address(last) for last in range(1, 5)]
    grapes = []
    began = time.monotonic()
    for number, last in enumerate((2, 3, 4, 9)):
        host = lab.host(network=network, last=last)
        # The resolver sorts addresses of the own network, by likeness to its own, and leaves others in their order.
        host.ip(
            f"addr del {network.address(last)}/24 dev eth0",
            f"addr add {network.address(last)}/32 dev eth0",
            f"route add {network.address(0)}/24 dev eth0",
        )
        turned = [*named[number:], *named[:number]] if rotated else named
        host.set_names(*(f"{address} {NAME}" for address in turned))
        grapes.append(LabGrape(host, network.address(last), *nodes(f"{NAME}:20001")))
    wait_for(grapes)
    return whole_after(grapes, began, PATIENCE_SECONDS)


ROWS = (
    hosts_row("hosts-six", "six hosts: announce at each, look up at each", "36 of 36 right", six),
    hosts_row(
        "hosts-lone",
        "a lone grape, asked from other hosts and by a read-only member; two more join",
        "the address that the asker reaches, never a loopback address",
        lone,
    ),
    hosts_row(
        "hosts-two-on-one",
        "two grapes on one host, the second joined through 127.0.0.1; two others",
        "all right and no loopback address at other hosts, p50 < 10 ms",
        two_on_one,
        alone=True,
    ),
    hosts_row(
        "hosts-names",
        "three grapes behind one name with four addresses, the first dead, and one that joins through it",
        "the ring is whole within 10 s, in fixed and in rotated order",
        names,
    ),
)
