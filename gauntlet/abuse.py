"""Tests the HTTP API against slow and idle connections, large bodies, and a process without file descriptors."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from gauntlet.client import Client, ClientError, lookup_anew
from gauntlet.machine import HOST, until
from gauntlet.processes import complaints, lone_grape
from gauntlet.row import Finding, Row, Run, judge, ms, percentile
from gauntlet.senders import sending
from gauntlet.wire import Peer

CONNECTIONS = 1_000
P99_SECONDS = 0.05
# The default of Config.max_connections, and how many more may be open while a count is taken.
MAX_CONNECTIONS = 512
SLACK = 64
OPEN_FILES = 64
CLIENTS = 200
BACK_SECONDS = 5.0
PING_SECONDS = 1.0


def slow(run: Run) -> Finding:
    """Measures a client with a new connection each time and one that keeps its own, beside thousands of others."""
    anew: list[float] = []
    kept: list[float] = []
    lost = files = most = 0
    with lone_grape() as grape:
        unused = grape.open_files()
        before = set(grape.directory.iterdir())
        port = grape.ports.api
        with sending("slow", port, run.size(20, 3), CONNECTIONS) as sender:
            client = Client(port)
            number, checked = 0, 0.0
            while sender.running:
                number += 1
                with_error = False
                try:
                    anew.append(lookup_anew(port, f"slow:{number}")[0])
                except (OSError, ClientError):
                    with_error = True
                try:
                    kept.append(client.timed("lookup", f"kept:{number}")[0])
                except (OSError, ClientError):
                    with_error = True
                    client.close()
                    client = Client(port)
                lost += with_error
                if time.monotonic() - checked > 0.25:
                    checked = time.monotonic()
                    files = max(files, grape.deleted_files() + len(set(grape.directory.iterdir()) - before))
                    most = max(most, grape.open_files() - unused)
                time.sleep(0.005)
            sent = sender.result()
        bad = complaints([grape])
    p99 = max(percentile(anew, 0.99), percentile(kept, 0.99))
    figures = {"requests": len(anew) + len(kept), "failed": lost, "p99 anew ms": ms(percentile(anew, 0.99))}
    figures |= {"p99 kept alive ms": ms(percentile(kept, 0.99)), "max ms": ms(max([*anew, *kept], default=0.0))}
    figures |= {
        "closed by the grape": int(sent["lost"]),
        "refused": int(sent["refused"]),
        "bodies cut": int(sent["cut"]),
        "files": files,
        "most open": most,
    }
    goals = {
        "p99 <= 50 ms": p99 <= P99_SECONDS,
        "no request failed": lost == 0 and len(anew) > 0,
        "nothing written to disk": files == 0,
        "at most 512 connections": most <= MAX_CONNECTIONS + SLACK,
        "no error logged": not bad,
    }
    return judge({**figures, "errors logged": len(bad)}, goals)


def descriptors(run: Run) -> Finding:
    """Opens more connections than the process has file descriptors, and pings it meanwhile."""
    unanswered = pings = refused = 0
    slowest = 0.0
    with lone_grape(open_files=OPEN_FILES) as grape, Peer() as peer:
        connections: list[socket.socket] = []
        for _ in range(CLIENTS):
            try:
                connection = socket.create_connection((HOST, grape.ports.api), 0.5)
            except OSError:
                refused += 1
                continue
            connections.append(connection)
            with suppress(OSError):
                connection.send(
                    b"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 14\r\n\r\n" + b'{"data":"fds"}'
                )
        end = time.monotonic() + run.size(5, 2)
        while time.monotonic() < end:
            began = time.monotonic()
            pings += 1
            unanswered += not peer.is_answered(grape.ports.dht, PING_SECONDS)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        for connection in connections:
            connection.close()
        began = time.monotonic()
        try:
            until("HTTP is back", lambda: _serves(grape.ports.api), BACK_SECONDS * 3)
            back = time.monotonic() - began
        except TimeoutError:
            back = float("inf")
        alive = grape.alive
        bad = complaints([grape])
    figures = {"connected": len(connections), "refused": refused, "pings": pings, "pings unanswered": unanswered}
    figures |= {"slowest ping ms": round(ms(slowest)), "errors logged": len(bad)}
    goals = {
        "alive": alive,
        "pings answered throughout": unanswered == 0,
        "HTTP back <= 5 s": back <= BACK_SECONDS,
        "no error logged": not bad,
    }
    such = {"such as": bad[0][:120]} if bad else {}
    return judge({**figures, "HTTP back s": round(back, 2), **such}, goals)


def _serves(port: int) -> bool:
    try:
        return isinstance(lookup_anew(port, "fds")[1], list)
    except (OSError, ClientError):
        return False


ROWS = (
    Row(
        "slow",
        "1,000 slow and 1,000 idle connections, and chunked bodies of 50 MB",
        "p99 of other clients <= 50 ms, nothing written to disk, at most 512 connections open (576 as counted)",
        slow,
        alone=True,
    ),
    Row(
        "descriptors",
        "200 HTTP connections to a grape with 64 file descriptors",
        "no crash, pings answered throughout, HTTP back within 5 s",
        descriptors,
    ),
)
