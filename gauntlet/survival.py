"""Tests that data survives kills of a grape under load and of a whole ring; measures what a durable put costs."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path

import attrs
from bencode2 import bencode

from gauntlet.client import Client, ClientError
from gauntlet.machine import Ports
from gauntlet.processes import GrapeProcess, complaints, lone_grape, ring
from gauntlet.row import Figure, Finding, Row, Run, judge, ms, percentile
from gauntlet.wire import Peer

READY_SECONDS = 1.0
FIRST_LOOKUP_SECONDS = 0.1
# Announces are written to disk within a second.
LAG_SECONDS = 1.0
PEER_LIFE_SECONDS = 200.0
MAX_LOAD_SECONDS = 0.6
# The share of rounds in which the grape runs on for a while after the load.
LINGERING_SHARE = 0.2
# Grapes that are killed at the same time.
VICTIMS = 2
# All rounds together stay below the number of own items that a grape keeps.
PUTS_PER_ROUND = 40
CHECKED_OF_BEFORE = 50
ITEMS_FLAGS = ("--dht_maxValues", "20000")


@attrs.define
class Acknowledged:
    """Holds what a grape acknowledged: items by hash, and services with the time of the answer."""

    items: dict[str, str] = attrs.Factory(dict)
    services: dict[str, float] = attrs.Factory(dict)


class Load:
    """Puts and announces from several threads, over HTTP and KRPC, until the grape is killed.

    ``number`` is the round, which makes the values unique; what is acknowledged is added to ``said``.
    """

    def __init__(self, ports: Ports, number: int, said: Acknowledged) -> None:
        self._ports = ports
        self._number = number
        self._said = said
        self._left = PUTS_PER_ROUND
        self._lock = threading.Lock()
        works: tuple[Callable[[], None], ...] = (self._put, self._put, self._announce, self._put_by_datagram)
        self._threads = [threading.Thread(target=self._until_gone, args=(work,)) for work in works]
        self._over = threading.Event()
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stops all threads."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _until_gone(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ClientError):
            # The grape was killed; what it acknowledged before counts.
            return

    def _next(self) -> str | None:
        """Returns a new value; None once the load is over."""
        with self._lock:
            if self._over.is_set() or self._left == 0:
                return None
            self._left -= 1
            return f"round {self._number} value {self._left}"

    def _put(self) -> None:
        with Client(self._ports.api) as client:
            while (value := self._next()) is not None:
                hash = client.call("put", value)
                self._said.items[hash] = value

    def _announce(self) -> None:
        with Client(self._ports.api) as client:
            for number in range(20):
                if self._over.is_set():
                    return
                name = f"round:{self._number}:{number}"
                client.call("announce", [name, 1 + number])
                self._said.services[name] = time.monotonic()
                time.sleep(0.01)

    def _put_by_datagram(self) -> None:
        with Peer() as peer:
            answer = peer.query(self._ports.dht, b"get", target=bytes(20))
            while answer is not None and (value := self._next()) is not None:
                if b"r" not in answer:
                    return
                token = answer[b"r"].get(b"token", b"")
                put = peer.query(self._ports.dht, b"put", 0.5, token=token, v=value.encode())
                if put is not None and put.get(b"y") == b"r":
                    self._said.items[sha1(bencode(value.encode())).hexdigest()] = value


@attrs.define
class Survived:
    """Holds the result of killing one grape repeatedly."""

    said: Acknowledged = attrs.Factory(Acknowledged)
    lost: set[str] = attrs.Factory(set)
    stale: set[str] = attrs.Factory(set)
    checks: int = 0
    starts: list[float] = attrs.Factory(list)
    damaged: list[str] = attrs.Factory(list)
    bad: list[str] = attrs.Factory(list)


def _killed(rounds: int, seed: int, say: Callable[[str], None]) -> Survived:
    """Kills a grape at random moments under load, restarts it, and checks what it acknowledged; so many rounds."""
    so_far = Survived()
    said = so_far.said
    grapes: list[GrapeProcess] = []
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as folder:
        place = Path(folder)
        ports = Ports()

        def start() -> GrapeProcess:
            began = time.monotonic()
            grape = GrapeProcess(ports, ITEMS_FLAGS, directory=place)
            grapes.append(grape)
            grape.wait()
            so_far.starts.append(time.monotonic() - began)
            return grape

        try:
            grape = start()
            for number in range(rounds):
                if number % 10 == 0:
                    say(f"round {number} of {rounds}, {len(said.items):,} items")
                before = list(said.items)
                load = Load(ports, number, said)
                time.sleep(dice.uniform(0.01, MAX_LOAD_SECONDS))
                if dice.random() < LINGERING_SHARE:
                    time.sleep(dice.uniform(LAG_SECONDS, 1.5 * LAG_SECONDS))
                grape.kill()
                killed = time.monotonic()
                load.end()
                grape = start()
                with Client(ports.api) as client:
                    new = [hash for hash in said.items if hash not in set(before)]
                    checked = [*new, *dice.sample(before, min(CHECKED_OF_BEFORE, len(before)))]
                    so_far.lost |= {hash for hash in checked if not _has(client, hash, said.items[hash])}
                    for name, at in said.services.items():
                        if killed - at > LAG_SECONDS and time.monotonic() - at < PEER_LIFE_SECONDS:
                            if not client.call("lookup", name):
                                so_far.stale.add(name)
                            so_far.checks += 1
                # Younger ones may be lost.
                said.services = {name: at for name, at in said.services.items() if killed - at > LAG_SECONDS}
            with Client(ports.api) as client:
                so_far.lost |= {hash for hash, value in said.items.items() if not _has(client, hash, value)}
        finally:
            for grape in grapes:
                grape.close()
        so_far.damaged = [name.name for name in place.iterdir() if ".damaged-" in name.name]
        so_far.bad = complaints(grapes)
    return so_far


def kills(run: Run) -> Finding:
    """Kills several grapes at the same time, because each mostly waits."""
    rounds = run.size(200, 10)
    with ThreadPoolExecutor(VICTIMS) as pool:
        lives = [pool.submit(_killed, rounds // VICTIMS, seed, run.say) for seed in range(1, 1 + VICTIMS)]
        all_of = [life.result() for life in lives]
    starts = [seconds for one in all_of for seconds in one.starts[1:]]
    lost, stale, damaged, bad = (
        sum(len(getattr(one, name)) for one in all_of) for name in ("lost", "stale", "damaged", "bad")
    )
    figures: dict[str, Figure] = {
        "kills": len(starts),
        "items acknowledged": sum(len(one.said.items) for one in all_of),
        "lost": lost,
        "services older than a second, looked up": sum(one.checks for one in all_of),
        "services lost": stale,
        "damaged files": damaged,
        "ready p50 ms": ms(percentile(starts, 0.5)),
        "slowest ms": ms(max(starts)),
        "errors logged": bad,
    }
    return judge(
        figures,
        {
            "no acknowledged item lost": not lost,
            "no service older than a second lost": not stale,
            "no damaged file": not damaged,
            "ready < 1 s": max(starts) < READY_SECONDS,
            "no error logged": not bad,
        },
    )


def reborn(run: Run) -> Finding:
    """Kills a whole ring and restarts it without bootstrap nodes."""
    number = run.size(1_000, 150)
    with ring(3, flags=ITEMS_FLAGS) as grapes:
        clients = [Client(grape.ports.api) for grape in grapes]
        hashes = [clients[n % 3].call("put", f"reborn {n}") for n in range(number)]
        for n in range(number):
            clients[n % 3].call("announce", [f"reborn:{n}", 1 + n])
        time.sleep(2 * LAG_SECONDS)
        for grape in grapes:
            grape.kill()
        again: list[GrapeProcess] = []
        try:
            began = time.monotonic()
            for grape in grapes:
                again.append(GrapeProcess(grape.ports, ITEMS_FLAGS, directory=grape.directory))
            for grape in again:
                grape.wait()
            ready = time.monotonic() - began
            clients = [Client(grape.ports.api) for grape in again]
            first = max(client.timed("lookup", "reborn:0")[0] for client in clients)
            missing_items = missing_services = 0
            for client in clients:
                run.say("gets and looks up everything")
                missing_items += sum(not _has(client, hash, f"reborn {n}", False) for n, hash in enumerate(hashes))
                for n in range(number):
                    missing_services += f"127.0.0.1:{1 + n}" not in client.call("lookup", f"reborn:{n}")
            bad = complaints([*grapes, *again])
        finally:
            for grape in again:
                grape.close()
    return judge(
        {
            "items": number,
            "services": number,
            "items missing": missing_items,
            "services missing": missing_services,
            "all three serve after ms": ms(ready),
            "first lookup ms": ms(first),
            "errors logged": len(bad),
        },
        {
            "every item from each": missing_items == 0,
            "every service from each": missing_services == 0,
            "first lookup < 100 ms": first < FIRST_LOOKUP_SECONDS,
            "no error logged": not bad,
        },
    )


def puts(run: Run) -> Finding:
    """Measures puts that are written to disk before the answer, beside puts that are not."""
    number = run.size(4_000, 800)
    figures: dict[str, Figure] = {}
    rates: dict[str, float] = {}
    for name, flags in (
        ("memory", ["--state", ":memory:"]),
        ("full", []),
        ("normal", ["--durability", "normal"]),
    ):
        with lone_grape([*ITEMS_FLAGS, *flags]) as grape:
            alone, _ = _put_all(grape, 1, number // 8, f"{name} alone")
            times, seconds = _put_all(grape, 16, number, name)
            bad = complaints([grape])
        rates[name] = len(times) / seconds
        figures |= {
            f"{name} puts/s": round(rates[name]),
            f"{name} p50 ms": ms(percentile(times, 0.5)),
            f"{name} p99 ms": ms(percentile(times, 0.99)),
            f"{name} one client p50 ms": ms(percentile(alone, 0.5)),
            f"{name} one client p99 ms": ms(percentile(alone, 0.99)),
        }
    return judge(
        {**figures, "full to memory": round(rates["full"] / rates["memory"], 2), "errors logged": len(bad)},
        {"full >= 0.25 of memory": rates["full"] >= 0.25 * rates["memory"], "no error logged": not bad},
    )


def _put_all(grape: GrapeProcess, clients: int, number: int, name: str) -> tuple[list[float], float]:
    """Puts ``number`` values by so many clients at once; returns the seconds of each put, and of all together."""

    def some(which: int) -> list[float]:
        with Client(grape.ports.api) as client:
            values = (f"{name} {which} {n} {'x' * 400}" for n in range(number // clients))
            return [client.timed("put", value)[0] for value in values]

    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        times = [seconds for each in pool.map(some, range(clients)) for seconds in each]
    return times, time.monotonic() - began


def _has(client: Client, hash: str, value: str, cache: bool | None = True) -> bool:
    got = client.call("get", {"hash": hash, "cache": cache})
    return got is not None and got["v"] == value


ROWS: Sequence[Row] = (
    Row(
        "kills",
        "a grape killed -9 at random moments under puts and announces, 200 times",
        "no acknowledged item lost, no service older than a second, no damaged file; ready < 1 s each time",
        kills,
        alone=True,
    ),
    Row(
        "reborn",
        "three grapes with 1,000 items and 1,000 services, all killed -9, restarted without bootstrap nodes",
        "every item and service found through each; first lookup < 100 ms",
        reborn,
        alone=True,
    ),
    Row(
        "puts",
        "puts by 16 clients and by one: in memory, on disk, on disk without waiting for it",
        "rate on disk >= 0.25 of the rate in memory",
        puts,
        alone=True,
    ),
)
