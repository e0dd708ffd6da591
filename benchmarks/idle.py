"""Measures idle grapes: their memory, and their processor time with 200 contacts. All run at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.figures import Figure, Sample
from benchmarks.krpc import CONTACTS, known, node
from benchmarks.processes import wait_for_api
from benchmarks.run import Group, Run
from gauntlet.client import Client
from gauntlet.machine import HOST

EACH = 3
SETTLE_SECONDS = 2.0
MINUTE_SECONDS = 60.0


def load_site(port: int) -> None:
    """Asks for a path that is none of the four calls, so that the site behind them is loaded."""
    with Client(port) as client:
        client.send(b"GET /nothing HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST.encode())
        client.reply()


def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
    """Measures one round. Processor time is scaled to one minute, whatever ``run.idle_seconds`` is."""
    with ExitStack() as stack:
        idle = [(side, *stack.enter_context(node(side, build=run.build(side)))) for _ in range(EACH) for side in sides]
        for _, process, ports in idle:
            wait_for_api(process, ports.api)
            load_site(ports.api)
        run.say(f"{EACH} grapes of each side settle")
        time.sleep(SETTLE_SECONDS)
        for side, process, _ in idle:
            yield Sample("idle-memory", side, process.resident_megabytes())
        if "idle-cpu" not in measures:
            return
        for side, process, ports in idle:
            run.say(f"{side}: fills the table with {CONTACTS} contacts")
            stack.enter_context(known(process, side, ports.dht))
        time.sleep(SETTLE_SECONDS)
        before = [process.cpu_seconds() for _, process, _ in idle]
        run.say(f"all are idle for {run.idle_seconds:g} s")
        began = time.monotonic()
        time.sleep(run.idle_seconds)
        waited = time.monotonic() - began
        for (side, process, _), used in zip(idle, before, strict=True):
            process.check()
            yield Sample("idle-cpu", side, (process.cpu_seconds() - used) * MINUTE_SECONDS / waited * 1000)


GROUP = Group(
    (
        Figure(
            "idle-memory",
            "memory of an idle grape, its site loaded",
            "idle-memory",
            "MB",
            less_is_better=True,
            at_least=0.9,
            aim=0.75,
            compiled_at_least=0.92,
        ),
        Figure(
            "idle-cpu",
            "an idle minute with 200 contacts: processor time",
            "idle-cpu",
            "ms",
            less_is_better=True,
            at_least=1,
        ),
    ),
    measure,
    max_rounds=1,
)
