"""Compares what a request costs in this checkout and in another one: ``python -m benchmarks.compare DIRECTORY``.

Both run in turn on this machine. The table has the processor time of the process that is asked, in microseconds of user
and system time for each request, which holds where rates do not. For the commit before::

    git worktree add ../before HEAD~1 && python -m benchmarks.compare ../before
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks import http, krpc
from benchmarks.builds import Build
from benchmarks.figures import OURS, BenchmarkError, Cost
from benchmarks.processes import cost_of, ring
from benchmarks.run import Run
from benchmarks.tools import reason_missing
from gauntlet.client import ClientError
from gauntlet.machine import ROOT

HTTP = ("http-lookup", "http-lookup-one", "http-announce", "http-get")
NAMES = (*HTTP, *krpc.METHODS)
USUAL = ("http-lookup", "http-announce", "get_peers", "ping")
ROUNDS = 9
SECONDS = 3.0
# A change may cost this much more: whichever is larger.
MORE_SHARE = 0.03
MORE_MICROSECONDS = 1.0


def http_costs(checkout: Path, names: Sequence[str], run: Run) -> Iterator[tuple[str, Cost]]:
    """Measures HTTP calls at the first of three grapes."""
    with ring(OURS, http.GRAPES, Build(path=checkout)) as grapes:
        works = http.works(http.prepare([ports for _, ports in grapes]))
        process, ports = grapes[0]
        for name in names:
            work = works[name]
            http.check(ports.api, work)
            http.load(ports.api, work, run.warm_seconds)

            def load(work: http.Work = work) -> float:
                return http.load(ports.api, work, run.seconds)["rate"]

            yield name, cost_of(process, load, max(round(run.seconds), 1))


def krpc_costs(checkout: Path, names: Sequence[str], run: Run) -> Iterator[tuple[str, Cost]]:
    """Measures queries to a node with 200 contacts."""
    with krpc.target(OURS, run, build=Build(path=checkout)) as target:
        for name in names:

            def load(name: str = name) -> float:
                result = target.load(name, run)
                return result["responses"] / result["seconds"]

            # krpcload warms up by itself; that time counts, for both checkouts.
            yield name, cost_of(target.process, load, run.warm_seconds + run.seconds)


def one_round(checkout: Path, names: Sequence[str], run: Run) -> dict[str, Cost]:
    """Measures everything named once, in new processes."""
    costs: dict[str, Cost] = {}
    for known, costs_of in ((HTTP, http_costs), (krpc.METHODS, krpc_costs)):
        wanted = [name for name in known if name in names]
        if wanted:
            costs.update(costs_of(checkout, wanted, run))
    return costs


def judged(name: str, before: Sequence[Cost], after: Sequence[Cost]) -> tuple[str, bool]:
    """Returns a line of the table, and True if the request does not cost more than it may."""

    def middle(costs: Sequence[Cost]) -> tuple[float, float, float]:
        return median(c.user for c in costs), median(c.system for c in costs), median(c.total for c in costs)

    old = middle(before)[2]
    more = median(mine.total - theirs.total for mine, theirs in zip(after, before, strict=True))
    is_within = more <= max(MORE_SHARE * old, MORE_MICROSECONDS)
    ratio = median(mine.rate / theirs.rate for mine, theirs in zip(after, before, strict=True))
    cells = [f"{value:7.2f}" for costs in (before, after) for value in middle(costs)]
    verdict = "" if is_within else "  MORE"
    return f"{name:<16}{' '.join(cells)}  {more:+6.2f} {more / old:+7.1%}  {ratio:5.2f}{verdict}", is_within


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison. Returns 0 if no request costs more than it may, 1 if one does, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="Compares what a request costs in this checkout with another checkout, in alternating rounds. "
        f"Status 1: one costs more than {MORE_SHARE:.0%} or {MORE_MICROSECONDS:g} us more, whichever is larger.",
    )
    parser.add_argument("directory", type=Path, help="the other checkout, as it was before")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=USUAL, help=" ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"rounds of each ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help=f"of one measurement ({SECONDS:g})")
    options = parser.parse_args(arguments)
    before = options.directory.resolve()
    if not (before / "grape" / "__init__.py").is_file():
        parser.error(f"{options.directory} is no checkout: it has no grape/__init__.py")
    for tool in ("wrk", "cc"):
        if (missing := reason_missing(tool)) is not None:
            parser.error(missing)
    run = Run(options.rounds, options.seconds, 0.0, lambda text: None)
    costs: dict[Path, list[dict[str, Cost]]] = {before: [], ROOT: []}
    for number in range(options.rounds):
        sys.stderr.write(f"round {number + 1} of {options.rounds}\n")
        # The first of a round may be slower or faster: they take turns.
        for checkout in (before, ROOT) if number % 2 == 0 else (ROOT, before):
            try:
                costs[checkout].append(one_round(checkout, options.only, run))
            except (BenchmarkError, ClientError, OSError) as error:
                sys.stderr.write(f"benchmarks: {error}\n")
                return 2
    sys.stdout.write(
        "us a request        before: user, system, both     after: the same     more         rate's ratio\n"
    )
    is_well = True
    for name in options.only:
        line, is_within = judged(name, [c[name] for c in costs[before]], [c[name] for c in costs[ROOT]])
        is_well = is_well and is_within
        sys.stdout.write(f"{line}\n")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
