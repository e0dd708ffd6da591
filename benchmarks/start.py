"""Measures the start of a grape, and its memory when it stores much."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

from benchmarks.builds import Build
from benchmarks.contacts import Contacts
from benchmarks.figures import BenchmarkError, Figure, Sample
from benchmarks.krpc import node
from benchmarks.processes import START_SECONDS, Process, command_of, wait_for_api
from benchmarks.run import Group, Run
from gauntlet.machine import Ports

STARTS = 3
MANY = 5_000
SETTLE_SECONDS = 1.0


def _start(side: str, build: Build) -> dict[str, float]:
    """Returns the milliseconds from the start of a process to its debug lines "listening" and "ready"."""
    found: dict[str, float] = {}
    with node(side, build=build) as (first, known):
        wait_for_api(first, known.api)
        command = command_of(side, Ports(), [known], build=build)
        more = {"DEBUG": "grenache:grape", "PYTHONPATH": str(build.path)}
        with Process(command, more, stderr=subprocess.PIPE) as process:
            lines = process.popen.stderr
            assert lines is not None
            limit = threading.Timer(START_SECONDS, process.popen.terminate)
            limit.start()
            for line in lines:
                word = line.split()[-1].decode() if line.split() else ""
                if word in ("listening", "ready"):
                    found.setdefault(word, (time.monotonic() - process.began) * 1000)
                if len(found) == 2:
                    break
            limit.cancel()
    if len(found) < 2:
        raise BenchmarkError(f"{side} did not become ready")
    return found


def _store_services(contacts: Contacts) -> None:
    for n in range(MANY):
        contacts.announce(b"bench:memory:%d" % n)


def _store_items(contacts: Contacts) -> None:
    for n in range(MANY):
        contacts.put(b"item %d " % n + b"." * 90)


def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
    """Measures one round."""
    if measures & {"listening", "ready"}:
        run.say(f"all start in turn, {STARTS} times")
        for _ in range(STARTS):
            for side in sides:
                for word, value in _start(side, run.build(side)).items():
                    yield Sample(word, side, value)
    for measure, store in (("services-memory", _store_services), ("items-memory", _store_items)):
        if measure not in measures:
            continue
        for side in sides:
            run.say(f"{side}: {measure}")
            build = run.build(side)
            with (
                node(side, "--dht_maxValues", str(MANY), build=build) as (process, ports),
                Contacts(ports.dht, 1) as contacts,
            ):
                wait_for_api(process, ports.api)
                store(contacts)
                time.sleep(SETTLE_SECONDS)
                yield Sample(measure, side, process.resident_megabytes())


def _shown(name: str, what: str, unit: str) -> Figure:
    return Figure(name, what, name, unit, less_is_better=True)


GROUP = Group(
    (
        Figure(
            "listening",
            "start of the process to listening",
            "listening",
            "ms",
            less_is_better=True,
            at_least=1.7,
            aim=1.0,
        ),
        _shown("ready", "start of the process to ready", "ms"),
        _shown("services-memory", "resident memory with 5,000 services", "MB"),
        _shown("items-memory", "resident memory with 5,000 items", "MB"),
    ),
    measure,
    max_rounds=2,
)
