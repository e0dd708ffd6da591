"""HTTP under abuse: slow and idle connections, big bodies, and no file descriptors left."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from gauntlet.client import Client, ClientError, lookup_anew
from gauntlet.processes import HOST, NotInTime, complaints, lone_grape, until
from gauntlet.row import Finding, Row, Run, judge, ms, percentile
from gauntlet.senders import sending
from gauntlet.wire import Peer

CONNECTIONS = 1_000
P99_SECONDS = 0.05
# What Config.max_connections says, and what may come between two looks.
MAX_CONNECTIONS = 512
SLACK = 64
OPEN_FILES = 64
CLIENTS = 200
BACK_SECONDS = 5.0
PING_SECONDS = 1.0


def slow(run: Run) -> Finding:
    """A client with a new connection each time and one that keeps its own, among thousands that never ask."""
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
        "thrown out": int(sent["lost"]),
        "not let in": int(sent["refused"]),
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
    """More clients than the process has file descriptors."""
    unanswered = pings = refused = 0
    slowest = 0.0
    with lone_grape(open_files=OPEN_FILES) as grape, Peer() as peer:
        crowd: list[socket.socket] = []
        for _ in range(CLIENTS):
            try:
                connection = socket.create_connection((HOST, grape.ports.api), 0.5)
            except OSError:
                refused += 1
                continue
            crowd.append(connection)
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
        for connection in crowd:
            connection.close()
        back = 0.0
        try:
            back = until("HTTP is back", lambda: _serves(grape.ports.api), BACK_SECONDS * 3)
        except NotInTime:
            back = float("inf")
        alive = grape.alive
        bad = complaints([grape])
    figures = {"connected": len(crowd), "refused": refused, "pings": pings, "pings unanswered": unanswered}
    figures |= {"slowest ping ms": round(ms(slowest)), "errors logged": len(bad)}
    goals = {
        "alive": alive,
        "UDP answers throughout": unanswered == 0,
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
        "1,000 slow and 1,000 idle connections and 50 MB chunked bodies at once",
        "p99 of a real client <= 50 ms, nothing written to disk, at most 512 connections open",
        slow,
        alone=True,
    ),
    Row(
        "descriptors",
        "ulimit -n 64 and 200 clients",
        "no crash, UDP answers throughout, HTTP back within 5 s",
        descriptors,
    ),
)
