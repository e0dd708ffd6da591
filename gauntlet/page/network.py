"""Makes the events of a large network for the page: 1,000 services and 500 contacts, some of which change."""

from __future__ import annotations

import random
from collections.abc import Iterator

from grape.metrics import Histogram

#: A name and a JSON value.
Event = tuple[str, object]

SERVICES = 1_000
CONTACTS = 500
CHANGED_SERVICES = 8
CHANGED_CONTACTS = 100
FULL_DISK = "disk I/O error: No space left on device"
STATE_FILE = "/var/lib/grape/grape-20001.sqlite"


# The nodes of a lookup: which one named it (None: the routing table), when it was asked and how long it took (seconds).
TRACED = (
    (None, 0.0001, 0.0042),
    (None, 0.0002, 0.0087),
    (None, 0.0002, 0.0051),
    (0, 0.0044, None),
    (0, 0.0045, 0.0068),
    (2, 0.0054, 0.0103),
    (4, 0.0114, 0.0049),
    (4, 0.0116, 0.0126),
)
# Seconds since 1970.
LOGGED_AT = 1_790_000_000.0


class LargeNetwork:
    """The events of the network, the same ones each time."""

    def __init__(self) -> None:
        self._dice = random.Random(15)
        self._calls = 0
        self._lookups: list[float] = []
        self._histogram = Histogram()
        self.own_id = self._id()
        # Most nodes are far away, as half of them are in each halving of the distance.
        self._nodes = [self._near(self._dice.expovariate(0.7)) for _ in range(CONTACTS)]

    def events(self, seconds: int, *, is_degraded: bool = False) -> Iterator[list[Event]]:
        """Yields the events of each second."""
        yield [self._snapshot(0, is_degraded), *self._whole(), *self._lines(is_degraded)]
        for second in range(1, seconds + 1):
            yield [self._snapshot(second, is_degraded), *self._changes(second)]

    def trace(self) -> dict[str, object]:
        """Returns how a lookup went, as /trace/lookup answers: eight nodes, one of which is silent."""
        peers = ["10.0.17.1:1337", "10.0.17.2:1337", "10.0.17.3:1337"]
        steps: list[dict[str, object]] = []
        for number, (by, asked, took) in enumerate(TRACED):
            answered = None if took is None else round(asked + took, 4)
            step = {"address": f"10.1.0.{number + 21}:20001", "id": self._nodes[number], "distance": 156 - number}
            step |= {"told_by": None if by is None else f"10.1.0.{by + 21}:20001", "asked_at": asked}
            step |= {"asked_again_at": None, "answered_at": answered, "error": None, "seq": None}
            has_peers = number in (4, 5, 7)
            step |= {"state": "silent" if answered is None else "answered", "nodes": 8 if answered else 0}
            steps.append({**step, "peers": peers[: number - 3] if has_peers else []})
        return {
            "key": "",
            "seconds": 0.0243,
            "complete": True,
            "steps": steps,
            "peers": peers,
            "own_peers": [],
            "seq": None,
            "value": None,
        }

    def _snapshot(self, second: int, is_degraded: bool) -> Event:
        state = {"name": "state", "state": "ok", "text": "state is written to its file"}
        if is_degraded:
            state = {"name": "state", "state": "degraded", "text": f"state is not on the disk: {FULL_DISK}"}
        status = {
            "version": "0.1.0",
            "node_id": self.own_id,
            "readiness": {
                "is_ready": True,
                "status": "degraded" if is_degraded else "ready",
                "problems": ["degraded"] if is_degraded else [],
                "checks": [{"name": "process", "state": "ok", "text": "the grape runs"}, state],
            },
            "uptime": 90_000.5 + second,
            "dht_address": "0.0.0.0:20001",
            "api_address": "[::]:30001",
            "advertised": "10.0.0.1:20001",
            "contacts": {"good": CONTACTS - 20, "questionable": 20},
            "services": SERVICES,
            "items": 1_234,
            "queries_in_flight": self._dice.randrange(20),
            "per_second": {"calls": 20.0, "queries_in": 100.0, "queries_out": 90.0},
            "bootstrap": ["10.0.0.2:20001", "10.0.0.3:20001"],
            "connections": {"open": 40, "limit": 512},
            "state": {"file": STATE_FILE, "last_commit": 3.0, "problem": FULL_DISK if is_degraded else None},
        }
        self._calls += 40 + 30 * (second // 60 % 2)
        queries_in = 100 * second + self._dice.randrange(40)
        counts = {"calls": self._calls, "queries_in": queries_in, "queries_out": 90 * second}
        # Most took some milliseconds, a few much longer.
        for _ in range(20):
            self._lookups.append(self._dice.lognormvariate(-6, 0.6) * (30 if self._dice.random() < 0.01 else 1))
        limits = []
        if is_degraded:
            text = "HTTP calls refused with 503 because too many were under way."
            limits.append({"name": "overloads", "count": 17 + second, "flag": "--max-calls", "text": text})
        snapshot = {"start": 1.5, "status": status, "counts": counts, "lookup_times": self._times(), "limits": limits}
        return "snapshot", snapshot

    def _times(self) -> dict[str, object]:
        self._histogram.add(self._lookups)
        self._lookups.clear()
        told = self._histogram
        return {"count": told.count, "sum": told.sum, "bounds": told.bounds, "cumulative": told.cumulative}

    def _whole(self) -> list[Event]:
        services = [self._service(number, 90_000) for number in range(SERVICES)]
        nodes = [self._node(number, 90_000) for number in range(CONTACTS)]
        return [
            ("nodes", {"is_whole": True, "rows": nodes, "gone": []}),
            ("services", {"is_whole": True, "rows": services, "gone": [], "total": SERVICES}),
        ]

    def _changes(self, second: int) -> list[Event]:
        services = [self._service(self._dice.randrange(SERVICES), 90_000 + second) for _ in range(CHANGED_SERVICES)]
        nodes = [self._node(self._dice.randrange(CONTACTS), 90_000 + second) for _ in range(CHANGED_CONTACTS)]
        return [
            ("nodes", {"is_whole": False, "rows": nodes, "gone": []}),
            ("services", {"is_whole": False, "rows": services, "gone": [], "total": SERVICES}),
        ]

    def _lines(self, is_degraded: bool) -> list[Event]:
        if not is_degraded:
            return []
        text = f"the state file cannot be written: {FULL_DISK}"
        lines = [
            [1, LOGGED_AT - 70, "warn", "grape.krpc", "10.0.0.7:20001 has sent what is no message 12 times"],
            [2, LOGGED_AT, "error", "grape.state", text],
        ]
        return [("log", {"lines": lines})]

    def _service(self, number: int, now: float) -> list[object]:
        name = f"rest:util:service-{number:04}"
        count = 1 + number % 7
        peers = [[f"10.0.{number % 200}.{peer + 1}:1337", now - peer] for peer in range(min(count, 3))]
        return [name.encode().hex(), name, count, peers]

    def _node(self, number: int, now: float) -> list[object]:
        round_trip = 0.0004 * 10 ** (2.2 * ((number * 7919) % CONTACTS) / CONTACTS) * self._dice.uniform(0.9, 1.1)
        return [
            self._nodes[number],
            f"10.1.{number // 250}.{number % 250 + 1}:20001",
            round_trip,
            now,
            number % 25 != 0,
        ]

    def _id(self) -> str:
        return f"{self._dice.getrandbits(160):040x}"

    def _near(self, halvings: float) -> str:
        distance = max(int(2.0 ** (160 - halvings)) - 1, 1) ^ self._dice.getrandbits(100)
        return f"{int(self.own_id, 16) ^ distance:040x}"
