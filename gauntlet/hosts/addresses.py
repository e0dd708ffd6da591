"""Tests grapes that have several addresses, that are bound to one, and that advertise one."""

from __future__ import annotations

import time

from gauntlet.hosts.common import (
    PATIENCE_SECONDS,
    Checked,
    announce_all,
    check_lookups,
    complaints,
    hosts_row,
    nodes,
    seconds_until,
    start_ring,
    whole,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.lab import Lab, route, translate
from gauntlet.row import Finding, Run, judge

JOIN_SECONDS = 10.0
START_SECONDS = 3.0
VIRTUAL = 100
SIX = "fd00:71::1"


def virtual_ip(run: Run) -> Finding:
    """Asks a grape at a second address, at a virtual one, and at that of its far interface."""
    answered = Checked()
    with Lab() as lab:
        near, far = lab.network(), lab.network()
        host, asker = lab.host(network=near, last=1), lab.host(network=near, last=2)
        lab.router(near, far)
        lab.attach(host, far, 1)
        for each in (host, asker):
            route(each, near)
        virtual = near.address(VIRTUAL)
        host.ip(f"addr add {virtual}/32 dev eth0", f"addr add {near.address(3)}/24 dev eth0")
        grape = LabGrape(host, near.address(1))
        grape.wait()
        places = {"primary": near.address(1), "virtual": virtual, "second": near.address(3), "far": far.address(1)}
        for place, address in places.items():
            answer = asker.ask(address, grape.dht, b"ping")
            answered.check(place, None if answer is None else answer.source[0], address)
        began = time.monotonic()
        joiner = LabGrape(asker, near.address(2), *nodes(f"{virtual}:{grape.dht}"))
        joiner.wait()
        joined = seconds_until(lambda: joiner.announce("virtual", 1) == 1, began)
        checked = check_lookups([grape, joiner], announce_all([grape, joiner], "virtual"))
        bad = complaints([grape, joiner])
    return judge(
        {
            "answered from": answered.text,
            "joined s": round(joined, 2),
            "right": checked.text,
            "errors logged": len(bad),
        },
        {
            "answered from the address that was asked": answered.ok,
            "joined within 10 s": joined <= JOIN_SECONDS,
            "all right": checked.ok,
            "no error logged": not bad,
        },
    )


def read_only(run: Run) -> Finding:
    """Lets a read-only grape join through a virtual address."""
    with Lab() as lab:
        network = lab.network()
        ring = start_ring(lab, network, 2)
        virtual = network.address(VIRTUAL)
        ring[0].host.ip(f"addr add {virtual}/32 dev eth0")
        announced = announce_all(ring, "read-only")
        began = time.monotonic()
        joiner = LabGrape(
            lab.host(network=network, last=3), network.address(3), "--read-only", *nodes(f"{virtual}:{ring[0].dht}")
        )
        joiner.wait()
        # The first is asked at both of its addresses, and may count twice.
        joined = seconds_until(lambda: joiner.announce("read-only", 1) in (2, 3), began)
        told = joiner.announce("read-only", 1)
        checked = check_lookups([joiner], announced)
        bad = complaints([*ring, joiner])
    return judge(
        {"joined s": round(joined, 2), "announced to": str(told), "right": checked.text, "errors logged": len(bad)},
        {"joined within 10 s": joined <= JOIN_SECONDS, "all right": checked.ok, "no error logged": not bad},
    )


def bound(run: Run) -> Finding:
    """Binds a grape to an IPv6 address in three ways: it is not open over IPv4, and a refusal names the flag."""
    ways = (("-b", SIX), ("-b", f"[{SIX}]"), ("--dht-bind", "::"))
    opened, named = [], Checked()
    with Lab() as lab:
        network = lab.network()
        host, asker = lab.host(network=network, last=1), lab.host(network=network, last=2)
        host.ip(f"addr add {SIX}/64 dev eth0 nodad")
        grapes = [
            LabGrape(host, network.address(1), *way, dht=20_001 + number, api=30_001 + number)
            for number, way in enumerate(ways)
        ]
        time.sleep(START_SECONDS)
        for way, grape in zip(ways, grapes, strict=True):
            if grape.ask(asker, b"ping") is not None and "::" not in way:
                opened.append(" ".join(way))
            ended = grape.program.status is not None
            words = ("--bind", "-b ", "-b:", "--dht-bind") if way[0] == "-b" else ("--dht-bind",)
            log = grape.program.log
            named.check(
                " ".join(way), not ended or (any(word in log for word in words) and "Traceback" not in log), True
            )
    return judge(
        {"open over IPv4": ", ".join(opened) or "none", "refused by name or served": named.text},
        {"-b ADDRESS is not open over IPv4": not opened, "a refusal names the flag": named.ok},
    )


def advertised(run: Run) -> Finding:
    """Advertises the published address of a grape that is bound to one inside a container's network."""
    with Lab() as lab:
        outside, inside = lab.network(), lab.network()
        container = lab.host(network=inside, last=2)
        router = lab.router(outside, inside)
        route(container, inside)
        translate(router, "eth0", "eth1", published=(20_001, inside.address(2), 20_001))
        others = start_ring(lab, outside, 2)
        address = outside.address(254)
        grape = LabGrape(
            container,
            address,
            "-b",
            inside.address(2),
            "--advertise",
            address,
            *nodes(*others),
            local=inside.address(2),
        )
        grape.wait()
        whole([grape, *others], 2)
        announced = announce_all([grape], "advertised")
        checked = Checked()
        seconds_until(lambda: check_lookups([grape, *others], announced).ok, time.monotonic(), PATIENCE_SECONDS / 3)
        check_lookups([grape, *others], announced, checked)
        bad = complaints([grape, *others])
    return judge(
        {"right": checked.text, "errors logged": len(bad)}, {"all right": checked.ok, "no error logged": not bad}
    )


ROWS = (
    hosts_row(
        "hosts-virtual-ip",
        "a grape asked at its primary, a second, a virtual and a far address; a joiner through the virtual one",
        "each answer from the address that was asked; joined within 10 s",
        virtual_ip,
    ),
    hosts_row(
        "hosts-read-only", "a read-only joiner through a virtual address", "joined within 10 s, all right", read_only
    ),
    hosts_row(
        "hosts-bound-ipv6",
        "-b with an IPv6 address, with brackets and without, and --dht-bind ::",
        "not open over IPv4; served, or refused with a line that names the flag",
        bound,
    ),
    hosts_row(
        "hosts-advertise",
        "a grape bound in a container's network advertises the published address",
        "its service is listed there alone, by all three",
        advertised,
    ),
)
