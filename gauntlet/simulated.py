"""Tests simulated networks, each seed in a process of its own: ``python -m gauntlet.simulated KIND SEED``."""

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

from gauntlet.machine import ROOT
from gauntlet.row import Figure, Finding, Row, Run, judge, ms, percentile
from grape.testing import MemoryNetwork, host_name, make_grapes
from grape.testing.scenarios import SCENARIOS
from grape.testing.simulations import wide_area

ROUND_TRIP_SECONDS = 0.1  # in the scenarios that count round trips
SEEDS, SHORT_SEEDS = 10, 2
LONG_RUNS = 3, 1  # numbers of seeds, full and short, of scenarios that take long
CHILD_SECONDS = 1_500.0
HOUR_SECONDS = 60.0
GIB = 2**30
OLD_KEYS = 60
PEER_AGE_SECONDS = 240.0

Numbers = dict[str, Any]


# In a process of its own


def scenario(name: str, seed: int) -> Numbers:
    """Runs one of grape.testing.scenarios."""
    outcome = SCENARIOS[name](seed)
    return {"lookups": outcome.lookups, "found": outcome.found, "times": outcome.times, "trace": outcome.trace}


def idle_hour(nodes: int, seed: int) -> Numbers:
    """Measures the processor time of a virtual hour without calls. Ends early once the goal is missed."""
    network = MemoryNetwork(seed, latency=wide_area)
    make_grapes(network, nodes)
    # The nodes are measured, not the garbage collector of a process that holds a thousand of them.
    gc.freeze()
    gc.disable()
    began, cpu, virtual = time.monotonic(), time.process_time(), 0
    while virtual < 3_600 and time.process_time() - cpu < HOUR_SECONDS:
        network.clock.advance(60)
        virtual += 60
    return {"virtual": virtual, "cpu": time.process_time() - cpu, "wall": time.monotonic() - began}


def expiry(nodes: int, seed: int) -> Numbers:
    """Kills the announcing grapes during a partition of ten minutes; counts their services that are found after it."""
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
    """Runs one network, and prints its numbers as a line of JSON."""
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
    """Runs one network in a process and returns its numbers. Raises RuntimeError if it fails, TimeoutExpired."""
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
    """Makes a row that counts found lookups over several seeds.

    ``least`` is the share that must be found, 0 to 1; ``p50`` and ``p99`` are limits of the lookups' times, in virtual
    seconds; ``sizes`` are the numbers of seeds in a full and in a short run.
    """

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
    """Makes a row that counts round trips: at most ``trips`` on average, in at most ``most_bytes`` of memory."""

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
    """Measures what a simulation costs, as processor time, because this row runs beside others."""
    numbers = in_a_process("hour", 1)
    whole = numbers["cpu"] * 3_600 / numbers["virtual"]
    figures = {"virtual s": numbers["virtual"], "CPU s": round(numbers["cpu"], 1), "CPU s of an hour": round(whole, 1)}
    return judge(figures, {"an hour < 60 s": numbers["virtual"] == 3_600 and whole < HOUR_SECONDS})


def expired(run: Run) -> Finding:
    """Checks that no peer is returned after its age."""
    before = stale = 0
    for seed in range(1, 1 + run.size(3, 1)):
        numbers = in_a_process("expiry", seed)
        before += numbers["before"]
        stale += numbers["stale"]
    return judge(
        {"found before": before, "found after their age": stale}, {"none after its age": stale == 0 and before > 0}
    )


def same_trace(run: Run) -> Finding:
    """Runs the same seed twice, in two processes with different hash seeds."""
    name = "partition" if run.short else "loss"
    traces = [in_a_process(name, 1, hash_seed)["trace"] for hash_seed in (1, 2)]
    figures = {"traces": " ".join(trace[:12] for trace in traces)}
    return judge(figures, {"the same": len(set(traces)) == 1})


ROWS = (
    Row(
        "steps-10000",
        "10,000 simulated nodes without faults",
        "at most 3.5 round trips on average, RSS < 4 GiB",
        steps_row("steps-10000", 3.5, 4 * GIB),
        full_only=True,
    ),
    Row(
        "hour",
        "a virtual hour of 1,000 idle nodes",
        "under a minute of processor time",
        hour,
        full_only=True,
    ),
    Row(
        "steps-1000",
        "1,000 simulated nodes without faults",
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
        found_row("loss", 0.995, 1.0, 2.0, (SEEDS, SEEDS)),  # With two seeds one lost lookup more would fail.
    ),
    Row(
        "liars",
        "100 simulated nodes, 20 % answer with fake nodes and peers",
        "found >= 99 %",
        found_row("liars", 0.99),
    ),
    Row(
        "sybils",
        "100 simulated nodes, 20 Sybils close to the keys, 20 mirrors",
        "found >= 80 %",
        found_row("sybils", 0.8, sizes=LONG_RUNS),
    ),
    Row(
        "churn",
        "100 simulated nodes, half of them replaced every 5 minutes",
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
        "60 simulated nodes, cut in halves for 10 minutes",
        "found by each half >= 99 % within 120 s after it",
        found_row("partition", 0.99),
    ),
    Row(
        "expiry",
        "60 simulated nodes, cut in halves for 10 minutes; the announcing nodes die",
        "no peer is returned after its age",
        expired,
    ),
    Row(
        "trace",
        "the same seed of a simulated network in two processes",
        "the same datagrams at the same times",
        same_trace,
    ),
)

if __name__ == "__main__":
    main()
