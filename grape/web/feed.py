"""Writes what a grape tells those who look at it as server-sent events: snapshots, changes of lists, lines of the log.

An event is a name and a JSON value. ``snapshot`` has the status, counters, and limits that were hit; ``nodes`` and
``services`` have rows as ``grape.node.watch`` defines them, as lists; ``log`` has lines; ``end`` has the reason. A
stream begins with all rows, and goes on with those that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from grape.logs.recent import Line, RecentLines
from grape.metrics import Histogram, Kind, Stats, help_texts
from grape.node.readiness import Readiness
from grape.node.status import Status
from grape.node.watch import Changes, Watch
from grape.web.body import dump
from grape.web.inspection import told_of_status

#: The flag that raises each limit of ``grape.node.status.LIMIT_COUNTERS``; None: no setting raises it.
LIMITS: Mapping[str, str | None] = {
    "not_sent": "--max-pending",
    "shaped": "--max-strangers",
    "evicted_keys": "--max-keys",
    "evicted_peers": "--max-peers-per-key",
    "evicted_peers_of_announcer": "--max-peers-per-announcer",
    "evicted_items": "--dht_maxValues",
    "evicted_withdrawals": "--max-keys",
    "unverified_puts": None,
    "evicted_connections": "--max-connections",
    "refused_connections": "--max-connections",
    "overloads": "--max-calls",
}
#: The counters whose rates are shown.
RATES = ("queries_in", "queries_out", "answered", "timed_out", "lookups")


class Inspected(Protocol):
    """A node that tells of itself: ``grape.node.inspector.Inspector``."""

    def readiness(self) -> Readiness: ...

    def status(self) -> Status: ...

    def stats(self) -> Stats: ...

    def lookup_times(self) -> Mapping[Kind, Histogram]: ...

    def watch(self, stopped: Callable[[], object]) -> Watch: ...

    def unwatch(self, watch: Watch) -> None: ...


class Feed:
    """The events of a node while somebody looks; ``calls()`` counts its HTTP calls, ``stopped`` as in ``watch``.

    Raises GrapeError ERR_GRAPE_NOT_RUNNING.
    """

    def __init__(
        self, inspected: Inspected, calls: Callable[[], int], lines: RecentLines, stopped: Callable[[], object]
    ) -> None:
        self._inspected = inspected
        self._calls = calls
        self._lines = lines
        self._watch = inspected.watch(stopped)
        self.clock = self._watch.clock
        lines.open()
        self._told_lines = 0
        # All that the last look saw, from the first time that it is asked for.
        self._everything = b""
        self.look()

    def close(self) -> None:
        """Looks no more."""
        self._inspected.unwatch(self._watch)
        self._lines.close()

    def look(self) -> bytes:
        """Returns the events of what has changed since the look before, and a snapshot."""
        changes = self._watch.look()
        lines = self._lines.after(self._told_lines)
        if lines:
            self._told_lines = lines[-1].number
        self._snapshot = _event("snapshot", self._told_snapshot())
        self._everything = b""
        return self._snapshot + _rows(changes, is_whole=False) + _lines(lines)

    def everything(self) -> bytes:
        """Returns the events that a stream begins with: all that the last look saw."""
        if not self._everything:
            lines = [line for line in self._lines.after(0) if line.number <= self._told_lines]
            self._everything = self._snapshot + _rows(self._watch.everything(), is_whole=True) + _lines(lines)
        return self._everything

    def _told_snapshot(self) -> dict[str, object]:
        status, counters = self._inspected.status(), self._inspected.stats().counters
        texts = help_texts()
        return {
            # Of a clock that begins at any time: differs for each start, and tells a restart.
            "start": round(self._watch.started_at, 3),
            "status": told_of_status(status),
            "counts": {"calls": self._calls(), **{name: counters[name] for name in RATES}},
            "lookup_times": _told_times(self._inspected.lookup_times()["peers"]),
            "limits": [
                {"name": name, "count": count, "flag": LIMITS[name], "text": texts[name]}
                for name, count in status.limits_hit.items()
            ],
        }


def end(reason: str) -> bytes:
    """Returns the last event of a stream."""
    return _event("end", {"reason": reason})


def _told_times(times: Histogram) -> dict[str, object]:
    seconds = round(times.sum, 6)
    return {"count": times.count, "sum": seconds, "bounds": times.bounds, "cumulative": times.cumulative}


def _rows(changes: Changes, *, is_whole: bool) -> bytes:
    events = b""
    if is_whole or changes.nodes or changes.gone_nodes:
        told = {"is_whole": is_whole, "rows": changes.nodes, "gone": changes.gone_nodes}
        events += _event("nodes", told)
    if is_whole or changes.services or changes.gone_services:
        rows = {"is_whole": is_whole, "rows": changes.services, "gone": changes.gone_services}
        events += _event("services", {**rows, "total": changes.all_services})
    return events


def _lines(lines: list[Line]) -> bytes:
    return _event("log", {"lines": lines}) if lines else b""


def _event(name: str, value: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dump(value))
