"""Tests that the page stays smooth where much changes, and that a grape serves as fast while many look at it."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from threading import Event as Flag
from threading import Thread
from typing import cast

import attrs

from gauntlet.client import Client
from gauntlet.machine import HOST, until
from gauntlet.page.browser import Browser, reason_without_browser
from gauntlet.page.network import SERVICES, LargeNetwork
from gauntlet.page.server import PageServer
from gauntlet.processes import GrapeProcess, ring
from gauntlet.row import Finding, Row, Run, judge, ms, percentile

# One second of a grape each so many seconds.
FAST_SECONDS = 0.02
TIMES = 3
LONGEST_TASK_MS = 100
HEAP_MB = 50
DONE_SECONDS = 90.0

GRAPES = 6
PAGES = 10
LOOKUPS_PER_SECOND = 100
LONGER = 1.2
SETTLE_SECONDS = 2.0
READ_BYTES = 1 << 20


@attrs.frozen
class Shown:
    """Holds what was seen of the page: the longest task of its opening, and those over 50 ms after it, in milliseconds.

    ``changes`` of elements, attributes and texts for each update; ``heap`` in bytes.
    """

    opening: int
    tasks: list[int]
    changes: float
    heap: int
    faults: list[str]


def smooth(run: Run) -> Finding:
    """Shows the page ten minutes of a large network, in fast motion.

    The least of the longest tasks is judged: what takes long by itself does so each time, and what the machine delays
    does not.
    """
    shown = []
    for number in range(TIMES):
        run.say(f"{number + 1} of {TIMES}")
        with Browser() as browser:
            shown.append(_shown(browser, run.size(600, 120)))
    longest = min(max(each.tasks, default=0) for each in shown)
    heap = max(each.heap for each in shown) / 2**20
    faults = [fault for each in shown for fault in each.faults]
    return judge(
        {
            "opening ms": min(each.opening for each in shown),
            "longest task ms": longest,
            "tasks over 50 ms": min(len(each.tasks) for each in shown),
            "changes an update": round(max(each.changes for each in shown)),
            "heap MB": round(heap, 1),
            "faults": len(faults),
        },
        {
            f"no task over {LONGEST_TASK_MS} ms": longest <= LONGEST_TASK_MS,
            f"heap < {HEAP_MB} MB": heap < HEAP_MB,
            "no error, nothing forbidden": not faults,
        },
    )


def _shown(browser: Browser, seconds: int) -> Shown:
    with PageServer(lambda: LargeNetwork().events(seconds), FAST_SECONDS) as server:
        browser.open(server.url)
        browser.until_text("#services-count", f"{SERVICES:,}")
        # What opening took is not judged.
        opening = max(browser.value("window.longTasks"), default=0)
        browser.value("window.longTasks.length = 0")
        changes, told = browser.value("window.changes"), server.told
        until("all updates are told", lambda: server.told > seconds, DONE_SECONDS)
        changed = (browser.value("window.changes") - changes) / max(server.told - told, 1)
        return Shown(opening, browser.value("window.longTasks"), changed, browser.do("heap"), browser.do("faults"))


def looked_at(run: Run) -> Finding:
    """Looks services up at random times, in turn while nobody looks at the grape and while ten pages are open."""
    rounds, seconds = run.size(7, 3), run.size(10, 5)
    dice = random.Random(15)
    ratios, used = [], {0: 0.0, PAGES: 0.0}
    p99s: dict[int, list[float]] = {0: [], PAGES: []}
    with ring(GRAPES) as grapes, Client(grapes[0].ports.api) as client:
        names = _announced(grapes)
        for number in range(rounds):
            for pages in (0, PAGES):
                run.say(f"round {number + 1} of {rounds}: {pages} pages")
                with _streams(grapes[0].ports.api, pages):
                    time.sleep(SETTLE_SECONDS)
                    before = grapes[0].cpu()
                    times = _look_up(client, names, seconds, dice)
                    used[pages] += grapes[0].cpu() - before
                    p99s[pages].append(percentile(times, 0.99))
            ratios.append(p99s[PAGES][-1] / p99s[0][-1])
    share = {pages: 100 * total / (rounds * seconds) for pages, total in used.items()}
    return judge(
        {
            "p99 ms": ms(median(p99s[0])),
            "ten pages p99 ms": ms(median(p99s[PAGES])),
            "ratio": round(median(ratios), 2),
            "% of a core": round(share[0], 1),
            "ten pages % of a core": round(share[PAGES], 1),
        },
        {f"ratio <= {LONGER}": median(ratios) <= LONGER},
    )


def _announced(grapes: Sequence[GrapeProcess]) -> list[str]:
    names = [f"pages:{number}" for number in range(SERVICES)]
    clients = [Client(grape.ports.api) for grape in grapes]
    for number, name in enumerate(names):
        clients[number % len(clients)].call("announce", [name, 1 + number])
    for client in clients:
        client.close()
    return names


def _look_up(client: Client, names: Sequence[str], seconds: int, dice: random.Random) -> list[float]:
    """Looks names up at times that do not depend on the answers, and returns the seconds that each took."""
    times = []
    due = time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(due - time.monotonic(), 0))
        times.append(client.timed("lookup", dice.choice(names))[0])
        due += dice.expovariate(LOOKUPS_PER_SECOND)
    return times


@contextmanager
def _streams(port: int, number: int) -> Iterator[None]:
    """Reads the live events as so many pages do, until the block ends."""
    over = Flag()
    asked = f"GET /events HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(number):
            connection = socket.create_connection((HOST, port))
            connection.sendall(asked)
            selector.register(connection, selectors.EVENT_READ)
            stack.callback(connection.close)
        thread = Thread(target=_read, args=(selector, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _read(selector: selectors.BaseSelector, over: Flag) -> None:
    while not over.is_set():
        for key, _ in selector.select(0.2):
            cast("socket.socket", key.fileobj).recv(READ_BYTES)


ROWS = (
    Row(
        "page",
        "the page in Chromium: 1,000 services and 500 contacts, ten minutes of updates in fast motion",
        "no task over 100 ms, heap under 50 MB, no error",
        smooth,
        alone=True,
        reason_missing=reason_without_browser,
    ),
    Row(
        "pages",
        "ten pages open beside lookups at random times, 1,000 services",
        "p99 of a lookup at most 1.2 times as long",
        looked_at,
        alone=True,
    ),
)
