"""Tests members that return with their node id at another address or port, or change their address as they run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from gauntlet.hosts.common import (
    WHOLE_SECONDS,
    Checked,
    complaints,
    hosts_row,
    nodes,
    seconds_until,
    start_ring,
    wait_for,
    whole,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.host import Host
from gauntlet.lab.lab import Lab, Network
from gauntlet.row import Finding, Run, judge
from gauntlet.wire import Address

CHANGED_SECONDS = 15.0
RETURNED_SECONDS = 10.0
CROWD = 26
CROWD_HOSTS = 2
ITEMS = 5
STATE = "state.sqlite"


def moved(run: Run) -> Finding:
    """Changes the address of a running member from .5 to .55."""
    with Lab() as lab:
        network = lab.network()
        others = start_ring(lab, network, 2)
        host = lab.host(network=network, last=5)
        grape = LabGrape(host, network.address(5), *nodes(*others))
        grape.wait()
        whole([*others, grape])
        grape.announce("moved", 7_000)
        node_id = grape.id_from(host)
        began = time.monotonic()
        _change_address(host, network, 5, 55)
        address = network.address(55)
        listed = _listed_after(others, node_id, (address, grape.dht), began)
        service = seconds_until(
            lambda: all(f"{address}:7000" in other.call("lookup", "moved").value for other in others), began
        )
        grape.address = address
        bad = complaints([*others, grape])
    return judge(
        {"contact listed s": round(listed, 1), "service listed s": round(service, 1), "errors logged": len(bad)},
        {
            "contact listed within 15 s": listed <= CHANGED_SECONDS,
            "service listed within 15 s": service <= CHANGED_SECONDS,
            "no error logged": not bad,
        },
    )


def returned(run: Run) -> Finding:
    """Kills one of three and starts it with its state at another port, or at another address; in a ring for each."""
    with Lab() as lab:
        seconds, bad = {}, []
        for change in ("port", "address"):
            network = lab.network()
            others = start_ring(lab, network, 2)
            host = lab.host(network=network, last=5)
            place = _place(host)
            grape = LabGrape(host, network.address(5), *nodes(*others), "--state", STATE, directory=place)
            grape.wait()
            whole([*others, grape])
            node_id = grape.id_from(host)
            grape.kill()
            address, port = network.address(5), 20_002
            if change == "address":
                _change_address(host, network, 5, 55)
                address, port = network.address(55), grape.dht
            began = time.monotonic()
            grape = LabGrape(host, address, *nodes(*others), "--state", STATE, directory=place, dht=port)
            grape.wait()
            seconds[change] = _listed_after(others, node_id, (address, port), began)
            bad += complaints([*others, grape])
    return judge(
        {**{f"other {change} s": round(taken, 1) for change, taken in seconds.items()}, "errors logged": len(bad)},
        {
            **{f"at another {change} within 10 s": taken <= RETURNED_SECONDS for change, taken in seconds.items()},
            "no error logged": not bad,
        },
    )


def returned_to_a_crowd(run: Run) -> Finding:
    """Does the same with another port in a ring of 28, where the one that is asked has 26 others that answer."""
    found = Checked()
    with Lab() as lab:
        network = lab.network()
        first, last = lab.host(network=network, last=1), lab.host(network=network, last=5)
        asked = LabGrape(first, network.address(1))
        asked.wait()
        place = _place(last)
        # It puts the items while it is alone: no other node has them until it tells.
        alone = LabGrape(last, network.address(5), "--state", STATE, directory=place)
        alone.wait()
        items = {alone.call("put", f"item {number}").value: f"item {number}" for number in range(ITEMS)}
        alone.stop()
        for number in range(CROWD_HOSTS):
            lab.host(network=network, last=101 + number).python(
                "gauntlet.lab.crowd", str(CROWD // CROWD_HOSTS), asked.node
            )
        _wait_for_crowd(asked)
        grape = LabGrape(last, network.address(5), *nodes(asked), "--state", STATE, directory=place)
        wait_for([grape])
        node_id = grape.id_from(last)
        joined = _listed_after([asked], node_id, (grape.address, grape.dht), time.monotonic())
        grape.kill()
        began = time.monotonic()
        grape = LabGrape(last, network.address(5), *nodes(asked), "--state", STATE, directory=place, dht=20_002)
        grape.wait()
        listed = _listed_after([asked], node_id, (grape.address, grape.dht), began)
        for hash, value in items.items():
            answer = asked.call("get", hash).value
            found.check(hash, answer.get("v") if isinstance(answer, dict) else answer, value)
        bad = complaints([asked, grape])
    return judge(
        {
            "joined s": round(joined, 1),
            "returned s": round(listed, 1),
            "items found": found.text,
            "errors logged": len(bad),
        },
        {
            "listed within 10 s": listed <= RETURNED_SECONDS,
            "all items found": found.ok,
            "no error logged": not bad,
        },
    )


def _wait_for_crowd(grape: LabGrape) -> None:
    for _ in range(int(WHOLE_SECONDS)):
        # Not sooner: a count costs 16 queries, and those of a host are limited.
        time.sleep(1.0)
        if _contacts(grape) >= CROWD:
            return
    raise TimeoutError(f"not within {WHOLE_SECONDS:g} s: {grape.node} lists {CROWD} contacts")


def _contacts(grape: LabGrape) -> int:
    """Counts the nodes that a grape names; no answer names more than 20, those closest to a target."""
    named: set[Address] = set()
    for first in range(0, 256, 16):
        answer = grape.ask(grape.host, b"find_node", target=bytes([first, *bytes(19)]))
        named |= set() if answer is None else {address for _, address in answer.nodes}
    return len(named)


def _place(host: Host) -> Path:
    place = host.directory / "state"
    place.mkdir()
    return place


def _change_address(host: Host, network: Network, old: int, new: int) -> None:
    # In this order: the new one would be a secondary address, which goes with the primary one.
    host.ip(f"addr del {network.address(old)}/24 dev eth0", f"addr add {network.address(new)}/24 dev eth0")


def _listed_after(grapes: Sequence[LabGrape], node_id: bytes, address: Address, began: float) -> float:
    """Waits until all name a node at an address, and at no other; returns the seconds since ``began``, or infinity."""
    return seconds_until(lambda: _lists(grapes, node_id, address), began)


def _lists(grapes: Sequence[LabGrape], node_id: bytes, address: Address) -> bool:
    for grape in grapes:
        answer = grape.ask(grape.host, b"find_node", target=node_id)
        named = set() if answer is None else {where for each, where in answer.nodes if each == node_id}
        if named != {address}:
            return False
    return True


ROWS = (
    hosts_row(
        "hosts-moved",
        "the address of a running member changes from .5 to .55",
        "contact and service listed under the new one within 15 s",
        moved,
    ),
    hosts_row(
        "hosts-returned",
        "one of three killed -9, restarted with its node id at another port, or at another address",
        "listed there, and nowhere else, within 10 s",
        returned,
    ),
    hosts_row(
        "hosts-returned-crowd",
        "the same at another port, where 26 other contacts answer",
        "listed there within 10 s, its 5 items found",
        returned_to_a_crowd,
    ),
)
