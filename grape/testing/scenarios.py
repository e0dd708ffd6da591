"""Runs named scenarios on simulated networks and prints a row for each: ``python -m grape.testing.scenarios``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import fmean

import attrs

from grape.testing.simulations import Outcome, Scenario, churn, deaths, liars, partition, rough, steps, sybils

SCENARIOS: dict[str, Scenario] = {
    "calm": deaths("calm", 0.0, 0.0),
    "loss": deaths("loss", 0.2, 0.3),
    "harsh": deaths("harsh", 0.3, 0.5),
    "churn": churn("churn", 300),
    "partition": partition("partition"),
    "liars": liars("liars", 0.2),
    "sybils": sybils("sybils"),
    "rough": rough("rough"),
    "steps-1000": steps("steps-1000", 1_000),
    "steps-10000": steps("steps-10000", 10_000),
}

HEADINGS = (
    *("scenario", "nodes", "loss", "killed", "churn/min", "found"),
    *("p50 ms", "p99 ms", "queries", "bytes/node", "trace"),
)
DESCRIPTION = """\
Runs networks of grapes in memory, with virtual time, and prints one row for each
scenario. The same seed gives the same run."""
EPILOG = """\
scenarios:
  calm         100 nodes, no faults
  loss         100 nodes, 20 % of the datagrams lost, 30 % of the nodes killed
  harsh        100 nodes, 30 % of the datagrams lost, 50 % of the nodes killed
  churn        100 nodes, half of them replaced every 5 minutes
  partition    60 nodes, cut in halves for 10 minutes
  liars        100 nodes, 20 of them answer with fake nodes and peers
  sybils       100 nodes, 20 liars with ids close to the names, 20 mirrors
  rough        100 nodes; loss, duplicates, disorder, NAT, one-way links
  steps-1000   1,000 nodes, no faults, each round trip 100 ms
  steps-10000  10,000 nodes, the same; takes minutes and 1 GiB

columns:
  loss, killed  share of the datagrams lost, and of the nodes killed
  churn/min     share of the nodes replaced each minute
  found         share of the lookups that returned the announced peer
  p50, p99      virtual milliseconds within which that share of the lookups ended
  queries       queries sent during a lookup, the mean
  bytes/node    bytes sent by a node, the mean
  trace         SHA-256 of the first run's datagrams, shortened
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs scenarios and prints one row for each; ``arguments`` are the command line's words."""
    parser = argparse.ArgumentParser(
        prog="python -m grape.testing.scenarios",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios to run [all but steps-10000]")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each scenario [3]")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="seed of the first run [1]")
    options = parser.parse_args(arguments)
    names = options.names or [name for name in SCENARIOS if name != "steps-10000"]
    for name in names:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}; choose from {', '.join(SCENARIOS)}")
    if options.seeds < 1:
        parser.error(f"--seeds takes 1 or more, not {options.seeds}")
    rows: list[tuple[str, ...]] = [HEADINGS]
    total, done = len(names) * options.seeds, 0
    for name in names:
        outcomes = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            outcomes.append(SCENARIOS[name](seed))
            done += 1
            _progress(done, total, name)
        rows.append(_row(outcomes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + "\n")


def _row(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    first = outcomes[0]
    together = attrs.evolve(first, times=tuple(time for outcome in outcomes for time in outcome.times))
    found = sum(outcome.found for outcome in outcomes) / sum(outcome.lookups for outcome in outcomes)
    return (
        first.scenario,
        str(first.nodes),
        f"{first.loss:.0%}",
        f"{first.killed:.0%}",
        f"{fmean(outcome.churn for outcome in outcomes):.0%}",
        f"{found:.2%}",
        f"{together.percentile(0.5) * 1000:.0f}",
        f"{together.percentile(0.99) * 1000:.0f}",
        f"{fmean(outcome.queries_per_lookup for outcome in outcomes):.1f}",
        f"{fmean(outcome.bytes_per_node for outcome in outcomes):.0f}",
        first.trace[:12],
    )


def _progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * (30 * done // total)
        sys.stderr.write(f"\r[{bar:<30}] {done}/{total} {name:<20}" + ("\n" if done == total else ""))
        sys.stderr.flush()


if __name__ == "__main__":
    main()
