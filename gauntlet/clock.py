"""Tests a ring in which the wall clock of one grape is set forwards and backwards, by an hour and by a day."""

from __future__ import annotations

import signal
import time

from gauntlet.client import Client
from gauntlet.processes import MODULE, complaints, ring
from gauntlet.row import Finding, Row, Run, judge

HOUR, DAY = 3_600, 86_400
STEPS = (HOUR, -HOUR, -HOUR, HOUR, DAY, -DAY, -DAY, DAY)
SHORT_STEPS = (HOUR, -HOUR, DAY, -DAY)
SLOWEST_SECONDS = 3.0
ANNOUNCED = 50
LOOKUPS = 40


def clock(run: Run) -> Finding:
    """Looks names up through the grape whose clock steps and another one; a third is dead, so that timeouts matter."""
    steps = SHORT_STEPS if run.short else STEPS
    with ring(3, runners=(("-m", "gauntlet.stepped", ",".join(map(str, steps))), MODULE, MODULE)) as grapes:
        clients = [Client(grape.ports.api) for grape in grapes[:2]]
        for number in range(ANNOUNCED):
            clients[number % 2].call("announce", [f"clock:{number}", 1 + number])
        grapes[2].kill()
        slowest, missing, late = 0.0, 0, 0
        for step, seconds in enumerate(steps):
            run.say(f"step {seconds:+} s")
            grapes[0].signal(signal.SIGUSR1)
            time.sleep(run.size(30, 10) / 100)
            clients = [Client(grape.ports.api) for grape in grapes[:2]]
            for number in range(ANNOUNCED):
                taken, answer = clients[number % 2].timed("lookup", f"clock:{(number + step) % ANNOUNCED}")
                slowest = max(slowest, taken)
                missing += f"127.0.0.1:{1 + (number + step) % ANNOUNCED}" not in answer
            for number in range(LOOKUPS):
                slowest = max(slowest, clients[number % 2].timed("lookup", f"clock:nobody:{step}:{number}")[0])
            taken, accepted = clients[0].timed("announce", [f"clock:new:{step}", 99])
            slowest = max(slowest, taken)
            late += not accepted or "127.0.0.1:99" not in clients[1].call("lookup", f"clock:new:{step}")
            for client in clients:
                client.close()
        bad = complaints(grapes)
    asked = ANNOUNCED * len(steps)
    figures: dict[str, int | float | str] = {
        "steps": len(steps),
        "slowest call s": round(slowest, 3),
        "peers not found": f"{missing} of {asked}",
    }
    goals = {
        "no lookup over 3 s": slowest <= SLOWEST_SECONDS,
        "peers announced before are still found": missing == 0,
        "peers announced after are found": late == 0,
        "no error logged": not bad,
    }
    return judge({**figures, "new peers not found": late, "errors logged": len(bad)}, goals)


ROWS = (
    Row(
        "clock",
        "the wall clock of a grape set forwards and backwards, by an hour and by a day",
        "no lookup over 3 s, peers announced before are still found",
        clock,
    ),
)
