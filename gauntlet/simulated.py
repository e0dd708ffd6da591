"""Simulated networks: rows that run each seed in a process of its own, ``python -m gauntlet.simulated KIND SEED``."""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gauntlet.processes import ROOT
from gauntlet.row import Figure, Finding, Row, Run, judge, ms, percentile
from grape.testing import MemoryNetwork, host_name, make_grapes
from grape.testing.scenarios import SCENARIOS
from grape.testing.simulations import wide_area

ROUND_TRIP_SECONDS = 0.1  # of the scenarios that count steps
SEEDS, SHORT_SEEDS = 10, 2
LONG_RUNS = 3, 1  # seeds of scenarios that take long
CHILD_SECONDS = 1_500.0
HOUR_SECONDS = 60.0
GIB = 2**30
OLD_KEYS = 60
PEER_AGE_SECONDS = 240.0

Numbers = dict[str, Any]


# In a process of its own


def scenario(name: str, seed: int) -> Numbers:
    """One of grape.testing.scenarios."""
    outcome = SCENARIOS[name](seed)
    return {"lookups": outcome.lookups, "found": outcome.found, "times": outcome.times, "trace": outcome.trace}


def idle_hour(nodes: int, seed: int) -> Numbers:
    """The processor time of a virtual hour in which nobody asks for anything. Given up once the goal is missed."""
    network = MemoryNetwork(seed, latency=wide_area)
    make_grapes(network, nodes)
    # The node is measured, not the collector of a process that holds a thousand of them.
    gc.freeze()
    gc.disable()
    began, cpu, virtual = time.monotonic(), time.process_time(), 0
    while virtual < 3_600 and time.process_time() - cpu < HOUR_SECONDS:
        network.clock.advance(60)
        virtual += 60
    return {"virtual": virtual, "cpu": time.process_time() - cpu, "wall": time.monotonic() - began}


def expiry(nodes: int, seed: int) -> Numbers:
    """A partition of ten minutes, in which the grapes that announced die: how much outlives its age."""
    network = MemoryNetwork(seed, latency=wide_area)
    dice = random.Random(seed)
    grapes = make_grapes(network, nodes)
    announcers = range(1, nodes, 5)
    for key in range(OLD_KEYS):
        network.result(grapes[dice.choice(announcers)].announce(f"old:{key}", 1 + key))
    before = sum(bool(network.result(grapes[2].lookup(f"old:{key}"))) for key in range(OLD_KEYS))
    network.partition([host_name(index + 1) for index in range(0, nodes, 2)])
    network.clock.advance(100)
    for index in announcers:
        network.kill(host_name(index + 1))
    network.clock.advance(500)
    network.heal()
    living = [grape for index, grape in enumerate(grapes) if index not in announcers]
    stale = 0
    for _ in range(3):
        network.clock.advance(40)
        stale += sum(bool(network.result(dice.choice(living).lookup(f"old:{key}"))) for key in range(OLD_KEYS))
    return {"before": before, "stale": stale}


def main(arguments: Sequence[str] | None = None) -> None:
    """One run; its numbers are a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m gauntlet.simulated")
    parser.add_argument("kind", choices=[*SCENARIOS, "hour", "expiry"])
    parser.add_argument("seed", type=int)
    options = parser.parse_args(arguments)
    if options.kind == "hour":
        numbers = idle_hour(1_000, options.seed)
    elif options.kind == "expiry":
        numbers = expiry(60, options.seed)
    else:
        numbers = scenario(options.kind, options.seed)
    numbers["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps(numbers) + "\n")


# The rows


def in_a_process(kind: str, seed: int, hash_seed: int = 0) -> Numbers:
    """The numbers of one run. Raises CalledProcessError, TimeoutExpired."""
    command = [sys.executable, "-m", "gauntlet.simulated", kind, str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{kind}, seed {seed}: {done.stderr.strip().splitlines()[-1:]}")
    numbers: Numbers = json.loads(done.stdout)
    return numbers


def found_row(
    name: str, least: float, p50: float = 60.0, p99: float = 60.0, sizes: tuple[int, int] = (SEEDS, SHORT_SEEDS)
) -> Callable[[Run], Finding]:
    """A row over all seeds: the share that was found, and the times in virtual seconds."""

    def measure(run: Run) -> Finding:
        seeds = range(1, 1 + run.size(*sizes))
        lookups = found = 0
        times: list[float] = []
        worst = (1.0, 0)
        for seed in seeds:
            run.say(f"seed {seed} of {len(seeds)}")
            numbers = in_a_process(name, seed)
            lookups += numbers["lookups"]
            found += numbers["found"]
            times += numbers["times"]
            worst = min(worst, (numbers["found"] / numbers["lookups"], seed))
        share, middle, slow = found / lookups, percentile(times, 0.5), percentile(times, 0.99)
        goals = {f"found >= {least:.1%}": share >= least}
        goals |= {f"p50 <= {p50:g} s": middle <= p50, f"p99 <= {p99:g} s": slow <= p99}
        figures: dict[str, Figure] = {
            "found": f"{found:,} of {lookups:,} ({share:.2%})",
            "p50 ms": ms(middle),
            "p99 ms": ms(slow),
            "seeds": len(seeds),
        }
        if worst[1]:
            figures["worst"] = f"{worst[0]:.2%} (seed {worst[1]})"
        return judge(figures, goals)

    return measure


def steps_row(name: str, trips: float, most_bytes: int | None = None) -> Callable[[Run], Finding]:
    """A row that counts round trips."""

    def measure(run: Run) -> Finding:
        numbers = in_a_process(name, 1)
        mean = sum(numbers["times"]) / len(numbers["times"]) / ROUND_TRIP_SECONDS
        goals = {f"mean <= {trips:g}": mean <= trips + 1e-6, "all found": numbers["found"] == numbers["lookups"]}
        if most_bytes is not None:
            goals[f"RSS < {most_bytes / GIB:g} GiB"] = numbers["rss"] < most_bytes
        slowest = max(numbers["times"]) / ROUND_TRIP_SECONDS
        found = f"{numbers['found']} of {numbers['lookups']}"
        figures = {"mean round trips": round(mean, 3), "most": round(slowest, 2), "found": found}
        return judge({**figures, "RSS GiB": round(numbers["rss"] / GIB, 2)}, goals)

    return measure


def hour(run: Run) -> Finding:
    """Simulating must be cheap. Processor time: this row may run beside others."""
    numbers = in_a_process("hour", 1)
    whole = numbers["cpu"] * 3_600 / numbers["virtual"]
    figures = {"virtual s": numbers["virtual"], "CPU s": round(numbers["cpu"], 1), "CPU s of an hour": round(whole, 1)}
    return judge(figures, {"an hour < 60 s": numbers["virtual"] == 3_600 and whole < HOUR_SECONDS})


def expired(run: Run) -> Finding:
    """Nothing older than its age is ever returned."""
    before = stale = 0
    for seed in range(1, 1 + run.size(3, 1)):
        numbers = in_a_process("expiry", seed)
        before += numbers["before"]
        stale += numbers["stale"]
    return judge({"found before": before, "found after their age": stale}, {"none is older": stale == 0 and before > 0})


def same_trace(run: Run) -> Finding:
    """Twice the same seed, in two processes whose sets and dictionaries are hashed in different ways."""
    name = "partition" if run.short else "loss"
    traces = [in_a_process(name, 1, hash_seed)["trace"] for hash_seed in (1, 2)]
    figures = {"traces": " ".join(trace[:12] for trace in traces)}
    return judge(figures, {"the same": len(set(traces)) == 1})


ROWS = (
    Row(
        "steps-10000",
        "10,000 simulated nodes without loss",
        "3.5 round trips on average, RSS < 4 GiB",
        steps_row("steps-10000", 3.5, 4 * GIB),
        full_only=True,
    ),
    Row(
        "hour",
        "a virtual hour of 1,000 idle nodes",
        "under a minute (of processor time)",
        hour,
        full_only=True,
    ),
    Row(
        "steps-1000",
        "1,000 simulated nodes without loss",
        "at most 3 round trips on average",
        steps_row("steps-1000", 3.0),
        full_only=True,
    ),
    Row(
        "harsh",
        "100 simulated nodes, 30 % loss, 50 % killed",
        "found >= 97 %",
        found_row("harsh", 0.97),
    ),
    Row(
        "loss",
        "100 simulated nodes, 20 % loss, 30 % killed",
        "found >= 99.5 %, p50 <= 1.0 s, p99 <= 2.0 s",
        found_row("loss", 0.995, 1.0, 2.0, (SEEDS, SEEDS)),  # Of two seeds one lost lookup more is a failure.
    ),
    Row(
        "liars",
        "100 simulated nodes, 20 % of them liars",
        "found >= 99 %",
        found_row("liars", 0.99),
    ),
    Row(
        "sybils",
        "100 simulated nodes, 20 Sybils next to the keys, 20 mirrors",
        "found >= 80 %",
        found_row("sybils", 0.8, sizes=LONG_RUNS),
    ),
    Row(
        "churn",
        "100 simulated nodes, half of them replaced in 5 minutes, all the time",
        "found >= 98 %, p99 <= 1.0 s",
        found_row("churn", 0.98, p99=1.0, sizes=LONG_RUNS),
    ),
    Row(
        "rough",
        "100 simulated nodes, loss, NAT, one-way links, disorder",
        "found >= 99 %, p99 <= 1.0 s",
        found_row("rough", 0.99, p99=1.0),
    ),
    Row(
        "partition",
        "halves cut off for 10 minutes, healed",
        "found across >= 99 % within 120 s",
        found_row("partition", 0.99),
    ),
    Row(
        "expiry",
        "the same cut, and whoever announced is dead",
        "nothing older than its age is returned",
        expired,
    ),
    Row(
        "trace",
        "one seed, twice, in two processes",
        "the same event trace",
        same_trace,
    ),
)

if __name__ == "__main__":
    main()
