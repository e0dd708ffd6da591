"""Tests rings of grapes in which some are killed, restarted or stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from gauntlet.client import Client, ClientError
from gauntlet.machine import until
from gauntlet.processes import GrapeProcess, complaints, others, ring
from gauntlet.row import Finding, Row, Run, judge, ms, percentile
from gauntlet.wire import Peer

ANNOUNCED = 100
FIRST_SECONDS = 0.3
NEXT_SECONDS = 0.05
AT_ONCE_SECONDS = 0.5
FOUND_AGAIN_SECONDS = 10.0
IN_MEMORY = ("--state", ":memory:")


def three_grapes(run: Run) -> Finding:
    """Kills one of three; measures the survivors' first lookup and the next thousand."""
    with ring(3) as grapes:
        names = _announce(grapes, "three")
        survivors = [Client(grape.ports.api) for grape in grapes[:2]]
        for client in survivors:
            client.call("lookup", "gauntlet:before")
        grapes[2].kill()
        firsts = [client.timed("lookup", f"three:first:{n}")[0] for n, client in enumerate(survivors)]
        names += [f"three:nobody:{number}" for number in range(1_000 - len(names))]
        times, missing = _look_up(survivors, names, ANNOUNCED)
        bad = complaints(grapes)
    p99 = percentile(times, 0.99)
    figures = {"first ms": ms(max(firsts)), "p50 ms": ms(percentile(times, 0.5)), "p99 ms": ms(p99)}
    return judge(
        {**figures, "max ms": ms(max(times)), "not found": missing, "errors logged": len(bad)},
        {
            "first < 300 ms": max(firsts) < FIRST_SECONDS,
            "p99 < 50 ms": p99 < NEXT_SECONDS,
            "all found": missing == 0,
            "no error logged": not bad,
        },
    )


def six_grapes(run: Run) -> Finding:
    """Kills two of six; measures 300 lookups at once, and 300 after a minute."""
    with ring(6) as grapes:
        names = _announce(grapes, "six")
        survivors = [Client(grape.ports.api) for grape in grapes[:4]]
        for grape in grapes[4:]:
            grape.kill()
        times, missing = _look_up(survivors, [*names, *(f"six:at once:{n}" for n in range(200))], ANNOUNCED)
        at_once, later = percentile(times, 0.99), 0.0
        figures: dict[str, float | int] = {"at once p50 ms": ms(percentile(times, 0.5)), "at once p99 ms": ms(at_once)}
        if not run.short:
            for left in range(60, 0, -10):
                run.say(f"waiting {left} s")
                time.sleep(10)
            # New ones: grapes close idle connections after 30 s.
            survivors = [Client(grape.ports.api) for grape in grapes[:4]]
            times, still = _look_up(survivors, [*names, *(f"six:later:{n}" for n in range(200))], ANNOUNCED)
            later, missing = percentile(times, 0.99), missing + still
            figures["minute later p99 ms"] = ms(later)
        bad = complaints(grapes)
    return judge(
        {**figures, "not found": missing, "errors logged": len(bad)},
        {
            "at once p99 <= 500 ms": at_once <= AT_ONCE_SECONDS,
            "minute later p99 <= 50 ms": later <= NEXT_SECONDS,
            "all found": missing == 0,
            "no error logged": not bad,
        },
    )


def found_again(run: Run) -> Finding:
    """Restarts a killed grape at its address with a new id, then stops and continues it; waits until it is found."""
    # Without a state file it has a new node id, which is the harder case.
    with ring(3, flags=IN_MEMORY) as grapes, Peer() as peer:
        dead, survivors = grapes[2], grapes[:2]
        clients = [Client(grape.ports.api) for grape in survivors]
        old_id = peer.id_of(dead.ports.dht)
        dead.kill()
        _look_up(clients, [f"again:{number}" for number in range(200)], 0)
        time.sleep(run.size(5, 1))
        ports = [grape.ports for grape in grapes]
        began = time.monotonic()
        reborn = GrapeProcess(dead.ports, [*others(ports, dead.ports), *IN_MEMORY], directory=dead.directory)
        try:
            reborn.wait()
            new_id = peer.id_of(reborn.ports.dht)
            until("both list it", lambda: all(_lists(peer, g, reborn, new_id, old_id) for g in survivors), 30)
            until("both reach it", lambda: all(client.call("announce", ["again", 1]) == 2 for client in clients), 30)
            killed = time.monotonic() - began
            reborn.signal(signal.SIGSTOP)
            for client in clients:
                client.close()
            clients = [Client(grape.ports.api) for grape in survivors]
            end = time.monotonic() + run.size(8, 3)
            while time.monotonic() < end:
                _look_up(clients, [f"stopped:{end}:{time.monotonic()}"], 0)
                time.sleep(0.02)
            reborn.signal(signal.SIGCONT)
            began = time.monotonic()
            until("both reach it", lambda: all(_reaches(client, 2) for client in clients), 30)
            stopped = time.monotonic() - began
            bad = complaints([*grapes, reborn])
        finally:
            reborn.close()
    return judge(
        {"new id s": round(killed, 2), "same id s": round(stopped, 2), "errors logged": len(bad)},
        {
            "new id <= 10 s": killed <= FOUND_AGAIN_SECONDS and new_id != old_id,
            "same id <= 10 s": stopped <= FOUND_AGAIN_SECONDS,
            "no error logged": not bad,
        },
    )


def _announce(grapes: Sequence[GrapeProcess], prefix: str) -> list[str]:
    clients = [Client(grape.ports.api) for grape in grapes]
    names = [f"{prefix}:service:{number}" for number in range(ANNOUNCED)]
    for number, name in enumerate(names):
        clients[number % len(clients)].call("announce", [name, 1 + number])
    for client in clients:
        client.close()
    return names


def _look_up(clients: Sequence[Client], names: Sequence[str], announced: int) -> tuple[list[float], int]:
    """Looks names up, through all clients in turn.

    Returns the seconds of each lookup, and how many of the first ``announced`` names were not found.
    """
    times, missing = [], 0
    for number, name in enumerate(names):
        seconds, answer = clients[number % len(clients)].timed("lookup", name)
        times.append(seconds)
        missing += number < announced and not (isinstance(answer, list) and f"127.0.0.1:{1 + number}" in answer)
    return times, missing


def _lists(peer: Peer, grape: GrapeProcess, other: GrapeProcess, new_id: bytes, old_id: bytes) -> bool:
    address = ("127.0.0.1", other.ports.dht)
    nodes = peer.nodes(grape.ports.dht, new_id)
    return (new_id, address) in nodes and (old_id, address) not in nodes


def _reaches(client: Client, number: int) -> bool:
    try:
        return bool(client.call("announce", ["again", 1]) == number)
    except ClientError:
        return False


ROWS = (
    Row(
        "three",
        "three live grapes, one killed -9",
        "first lookup < 300 ms, p99 of the next 1,000 < 50 ms",
        three_grapes,
        alone=True,
    ),
    Row(
        "six",
        "six live grapes, two killed -9",
        "p99 of 300 lookups <= 500 ms at once, <= 50 ms after a minute",
        six_grapes,
        alone=True,
    ),
    Row(
        "again",
        "a grape killed -9 and restarted, then stopped and continued",
        "found again within 10 s, with a new id and with the same one",
        found_again,
    ),
)
