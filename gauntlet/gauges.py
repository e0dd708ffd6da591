"""Declares which figures of the gauntlet are drawn, in sections, each with its limit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

import attrs

from gauntlet.row import Figure


class Kind(Enum):
    """Names the kinds of limits: at most, at least, and a share (0 to 1) that must be found."""

    MOST = "most"
    LEAST = "least"
    FOUND = "found"


@attrs.frozen
class Gauge:
    """Declares a figure of a row with its limit, both in ``unit``, and what it is for a reader of the chart alone."""

    row: str
    figure: str
    label: str
    limit: float
    unit: str
    kind: Kind = Kind.MOST

    def value(self, figures: Mapping[str, Figure]) -> float | None:
        """Returns the value in a row's figures, the greatest of several; None if it has none.

        Of "N of M" it is N / M.
        """
        figure = figures.get(self.figure)
        if figure is None:
            return None
        text = str(figure).replace(",", "") if self.kind is Kind.FOUND else str(figure)
        if self.kind is Kind.FOUND:
            found = re.match(r"(\d+) of (\d+)", text)
            return int(found[1]) / int(found[2]) if found and int(found[2]) else None
        try:
            return max(float(part) for part in text.split(","))
        except ValueError:
            return None

    def used(self, value: float) -> float:
        """Returns the share of what is allowed: 1 at the limit, more beyond it."""
        if self.kind is Kind.MOST:
            return value / self.limit
        if self.kind is Kind.LEAST:
            return self.limit / value if value else float("inf")
        return (1 - value) / (1 - self.limit)

    def words(self, value: float) -> str:
        """Returns the value and its limit in words."""
        if self.kind is Kind.FOUND:
            return f"{_number(value * 100)} % found (at least {_number(self.limit * 100)} %)"
        word = "limit" if self.kind is Kind.MOST else "at least"
        unit = f" {self.unit}" if self.unit else ""
        return f"{_number(value)}{unit} ({word} {_number(self.limit)})"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value >= 1 else f"{value:.2g}"


def _found(row: str, label: str, limit: float) -> Gauge:
    return Gauge(row, "found", label, limit, "%", Kind.FOUND)


SECTIONS: Mapping[str, tuple[Gauge, ...]] = {
    "Processes that are killed": (
        Gauge("three", "first ms", "one of three killed: first lookup", 300, "ms"),
        Gauge("three", "p99 ms", "the next lookups: p99", 50, "ms"),
        Gauge("six", "at once p99 ms", "two of six killed: p99 at once", 500, "ms"),
        Gauge("six", "minute later p99 ms", "a minute later: p99", 50, "ms"),
        Gauge("again", "new id s", "a killed one restarted: found again", 10, "s"),
        Gauge("kills", "slowest ms", "killed under load: slowest start", 1_000, "ms"),
        Gauge("reborn", "first lookup ms", "all three restarted: first lookup", 100, "ms"),
        Gauge("baddays", "slowest ms", "damaged state files: slowest start", 2_000, "ms"),
        Gauge("puts", "full to memory", "puts on disk beside in memory", 0.25, "times the rate", Kind.LEAST),
        Gauge("clock", "slowest call s", "the clock is set: slowest call", 3, "s"),
    ),
    "Load and attacks": (
        Gauge("slow", "p99 anew ms", "1,000 slow connections: p99 of others", 50, "ms"),
        Gauge("slow", "most open", "the same: connections open", 576, ""),
        Gauge("descriptors", "HTTP back s", "few descriptors: HTTP back", 5, "s"),
        Gauge("garbage", "p99 ms", "20,000 datagrams of garbage a second: p99", 50, "ms"),
        Gauge("drowning", "p99 ms", "9,000 fake peers of a name: p99", 50, "ms"),
        Gauge("crowded", "p99 ms", "2,000 peers of one host, 2,000 queries a second: p99", 50, "ms"),
        Gauge("poisoning", "if answering", "5,000 fake node ids: entries in the table", 1, ""),
        Gauge("amplification", "response/query", "response as a multiple of its query", 15, "times"),
        Gauge("amplification", "largest datagram", "largest datagram", 1_400, "bytes"),
        Gauge("mutated", "growth MiB", "mutated datagrams and requests: growth of memory", 16, "MiB"),
    ),
    "Hosts in network namespaces": (
        Gauge("hosts-two-on-one", "p50 ms", "two grapes on one host: p50", 10, "ms"),
        Gauge("hosts-published-port", "p50 ms", "a published port: p50", 10, "ms"),
        Gauge("hosts-nat-sibling", "p50 ms", "two behind one router: p50", 10, "ms"),
        Gauge("hosts-two-subnets", "p50 ms", "addresses in two networks: p50", 10, "ms"),
        Gauge("hosts-names", "rotated s", "a name with four addresses: ring whole", 10, "s"),
        Gauge("hosts-moved", "service listed s", "the address changes: listed under the new one", 15, "s"),
        Gauge("hosts-returned", "other address s", "restarted at another address: listed there", 10, "s"),
        Gauge("hosts-clones", "whole s", "three copies of one state file: ring whole", 12, "s"),
        Gauge("hosts-far", "p50 ms", "one is 400 ms away: p50 of the others", 150, "ms"),
        Gauge("hosts-far-dead", "first ms", "its link goes down: first lookup", 300, "ms"),
        Gauge("hosts-killed", "p99 ms", "one of three killed: p99", 10, "ms"),
        Gauge("hosts-switched-off", "p99 ms", "its host switched off: p99", 50, "ms"),
        Gauge("hosts-forged", "p99 ms", "10,000 forged ICMP errors a second: p99", 50, "ms"),
    ),
    "Simulated networks; where services are found, the bar is the share that is not": (
        _found("loss", "20 % loss, 30 % killed", 0.995),
        Gauge("loss", "p99 ms", "the same: p99", 2_000, "ms"),
        _found("harsh", "30 % loss, 50 % killed", 0.97),
        _found("churn", "half replaced every 5 minutes", 0.98),
        Gauge("churn", "p99 ms", "the same: p99", 1_000, "ms"),
        _found("rough", "loss, NAT, one-way links, disorder", 0.99),
        Gauge("rough", "p99 ms", "the same: p99", 1_000, "ms"),
        _found("liars", "20 % answer with fake nodes and peers", 0.99),
        _found("sybils", "20 Sybils close to the keys, 20 mirrors", 0.8),
        _found("partition", "halves cut off for 10 minutes", 0.99),
        Gauge("steps-1000", "mean round trips", "1,000 nodes: round trips of a lookup", 3, ""),
        Gauge("steps-10000", "mean round trips", "10,000 nodes: round trips of a lookup", 3.5, ""),
        Gauge("steps-10000", "RSS GiB", "the same: memory of all", 4, "GiB"),
        Gauge("hour", "CPU s of an hour", "1,000 idle nodes, an hour: processor time", 60, "s"),
    ),
}
