"""Tests hosts with one node id: started from copies of one state file, and attackers that answer with it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from gauntlet.hosts.common import (
    announce_all,
    check_lookups,
    complaints,
    hosts_row,
    nodes,
    wait_for,
    whole,
    whole_after,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.host import Host
from gauntlet.lab.lab import Lab
from gauntlet.row import Finding, Run, judge

CLONES = 3
RING_SECONDS = 12.0
ATTACK_SECONDS = 8.0
STATE = "state.sqlite"


def clones(run: Run) -> Finding:
    """Starts three hosts from copies of one state file; the list of nodes names all three."""
    with Lab() as lab:
        network = lab.network()
        hosts = [lab.host(network=network, last=1 + number) for number in range(CLONES)]
        addresses = [network.address(1 + number) for number in range(CLONES)]
        image = LabGrape(hosts[0], addresses[0], "--state", STATE, directory=_place(hosts[0], "image"))
        image.wait()
        old_id = image.id_from(hosts[0])
        image.stop()
        listed = nodes(*(f"{address}:{image.dht}" for address in addresses))
        began = time.monotonic()
        grapes = []
        for host, address in zip(hosts, addresses, strict=True):
            place = _place(host, "clone")
            shutil.copy(hosts[0].directory / "image" / STATE, place / STATE)
            grapes.append(LabGrape(host, address, *listed, "--state", STATE, directory=place))
        wait_for(grapes)
        taken = whole_after(grapes, began)
        ids = {grape.id_from(grape.host) for grape in grapes}
        checked = check_lookups(grapes, announce_all(grapes, "clones"))
        bad = complaints(grapes)
    return judge(
        {
            "whole s": round(taken, 1),
            "node ids": len(ids),
            "of them the image's": int(old_id in ids),
            "right": checked.text,
            "errors logged": len(bad),
        },
        {
            "a ring within 12 s": taken <= RING_SECONDS,
            "a node id each": len(ids) == CLONES,
            "all right": checked.ok,
            "no error logged": not bad,
        },
    )


def attack(run: Run) -> Finding:
    """Lets attackers answer a grape with its own id while it starts, and later the ring that it is in."""
    with Lab() as lab:
        network = lab.network()
        hosts = [lab.host(network=network, last=1 + number) for number in range(3)]
        place = _place(hosts[0], "state")
        victim = LabGrape(hosts[0], network.address(1), "--state", STATE, directory=place)
        victim.wait()
        own_id = victim.id_from(hosts[0])
        victim.stop()
        early, late = (lab.host(network=network, last=66 + number) for number in range(2))
        early.python("gauntlet.lab.impostor", own_id.hex(), victim.node)
        second = LabGrape(hosts[1], network.address(2))
        second.wait()
        victim = LabGrape(hosts[0], network.address(1), *nodes(second), "--state", STATE, directory=place)
        third = LabGrape(hosts[2], network.address(3), *nodes(second))
        grapes = [victim, second, third]
        wait_for(grapes)
        whole(grapes)
        announced = announce_all(grapes, "attack")
        late.python("gauntlet.lab.impostor", own_id.hex(), *(grape.node for grape in grapes))
        places: set[str] = set()
        end = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            time.sleep(0.5)
            places |= {place for grape in grapes[1:] for place in _told(grape, own_id)}
        kept = victim.id_from(hosts[0]) == own_id
        announced |= announce_all(grapes, "under attack")
        checked = check_lookups(grapes, announced)
        bad = complaints(grapes)
    return judge(
        {
            "id kept": "yes" if kept else "no",
            "told at": ", ".join(sorted(places)),
            "right": checked.text,
            "errors logged": len(bad),
        },
        {
            "the id is kept": kept,
            "told at its own address alone": places == {victim.node},
            "all right": checked.ok,
            "no error logged": not bad,
        },
    )


def _place(host: Host, name: str) -> Path:
    place = host.directory / name
    place.mkdir()
    return place


def _told(grape: LabGrape, node_id: bytes) -> set[str]:
    """Returns the addresses, "host:port", at which a grape names a node."""
    answer = grape.ask(grape.host, b"find_node", target=node_id)
    return set() if answer is None else {f"{host}:{port}" for each, (host, port) in answer.nodes if each == node_id}


ROWS = (
    hosts_row(
        "hosts-clones",
        "three hosts started from copies of one state file, which join through all three addresses",
        "a ring of three node ids within 12 s, all right",
        clones,
    ),
    hosts_row(
        "hosts-clone-attack",
        "attackers answer and ping with a grape's own id, at its start and in the formed ring",
        "it keeps its id and its place, all right",
        attack,
    ),
)
