"""Measures many grapes in one process: the time until all are ready, and lookups of new names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from benchmarks.builds import Build
from benchmarks.figures import BUILDS, BenchmarkError, Figure, Sample, percentile
from benchmarks.processes import run_json
from benchmarks.run import Group, Run
from benchmarks.tools import NODE, node_packages
from gauntlet.machine import HOST, Ports

GRAPES = 100
GRAPES_OF_LOOKUPS = 96
LOOKUPS = 12
SETTLE_SECONDS = 1.0
MORE_SECONDS = 60.0


@cache
def _ports(number: int) -> list[list[int]]:
    """Returns [DHT port, HTTP port] of so many grapes: the same for every process, because they run one by one."""
    return [[each.dht, each.api] for each in (Ports() for _ in range(number))]


def process(side: str, grapes: int, seconds: float, build: Build) -> dict[str, Any]:
    """Runs a side's process and returns the JSON that it prints. Raises BenchmarkError."""
    settings = json.dumps({"ports": _ports(grapes), "lookups": LOOKUPS, "seconds": seconds, "settle": SETTLE_SECONDS})
    limit = seconds * 2 + MORE_SECONDS
    if side in BUILDS.values():
        command = [build.python, "-m", "benchmarks.manygrapes", settings]
        return run_json(command, limit, more={"PYTHONPATH": str(build.path)})
    return run_json(["node", str(NODE / "many.js"), settings], limit, more={"NODE_PATH": str(node_packages())})


def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
    """Measures one round, one process after the other."""
    if "bootstrap" in measures:
        for side in sides:
            run.say(f"{side}: {GRAPES} grapes start")
            yield Sample("bootstrap", side, process(side, GRAPES, 0, run.build(side))["ready"])
    if not measures & {"many-rate", "many-mean", "many-p95"}:
        return
    for side in sides:
        run.say(f"{side}: {LOOKUPS} lookups at once among {GRAPES_OF_LOOKUPS} grapes")
        result = process(side, GRAPES_OF_LOOKUPS, run.seconds, run.build(side))
        if result["check"] != [f"{HOST}:1337"]:
            raise BenchmarkError(f"{side}: an announced name is looked up as {result['check']!r}")
        times = result["times"]
        yield Sample("many-rate", side, len(times) / result["seconds"])
        yield Sample("many-mean", side, sum(times) / len(times))
        yield Sample("many-p95", side, percentile(times, 0.95))


def _time(name: str, what: str, unit: str, at_least: float, aim: float) -> Figure:
    return Figure(name, what, name, unit, less_is_better=True, at_least=at_least, aim=aim)


_RATE = "96 grapes in one process, 12 lookups at once"

GROUP = Group(
    (
        Figure("many-rate", _RATE, "many-rate", "lookups/s", at_least=2.5, aim=4.0, compiled_at_least=3.5),
        _time("many-mean", "96 grapes in one process, lookup: mean", "ms", 1 / 2, 1 / 3),
        _time("many-p95", "96 grapes in one process, lookup: p95", "ms", 1 / 2, 1 / 3),
        _time("bootstrap", "100 grapes in one process: until all are ready", "s", 1.0, 1 / 2),
    ),
    measure,
)
