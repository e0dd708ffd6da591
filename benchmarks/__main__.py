"""Measures this grape beside grenache-grape and libtorrent, and prints one table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import attrs

from benchmarks import chart, http, idle, krpc, many, start, state
from benchmarks.figures import (
    OURS,
    BenchmarkError,
    Figure,
    Group,
    Result,
    Run,
    Sample,
    Verdict,
    exit_status,
    failed,
    judge,
    skipped,
    values_of,
)
from benchmarks.table import as_json, table
from benchmarks.tools import reason_missing, versions
from gauntlet.client import ClientError

# In the order of the table.
GROUPS = (http.GROUP, krpc.GROUP, many.GROUP, idle.GROUP, state.LOOKUPS, state.QUERIES, start.GROUP)
NAMES = [figure.name for group in GROUPS for figure in group.figures]
ROUNDS = 5
SECONDS = 3.0
IDLE_SECONDS = 60.0
MAX_ROUNDS = 100
MAX_SECONDS = 3_600
QUICK = (2, 1.0, 10.0)
STATUS = "Status: 0 every goal is reached, 1 one is missed or could not be measured, 3 some are skipped"


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses and checks the command line. Ends the process with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures how fast this grape is beside grenache-grape 1.0.0 (npm) and libtorrent (PyPI), in turn "
        "on this machine. Takes about thirteen minutes; leave the machine idle meanwhile.",
        epilog=f"Figures: {' '.join(NAMES)}. {STATUS}.",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds of each measurement [{ROUNDS}]")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"length of one measurement [{SECONDS:g}]")
    parser.add_argument(
        "--idle-seconds",
        type=float,
        metavar="S",
        help=f"how long processor time of idle grapes is measured [{IDLE_SECONDS:g}]",
    )
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of a second: tests that it works, the figures mean nothing"
    )
    parser.add_argument("--only", nargs="+", metavar="FIGURE", choices=NAMES, help="measure only these figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as JSON, too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write a chart to FILE as PNG (needs matplotlib)")
    options = parser.parse_args(arguments)
    usual = QUICK if options.quick else (ROUNDS, SECONDS, IDLE_SECONDS)
    for name, value in zip(("rounds", "seconds", "idle_seconds"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
        if not 0 < getattr(options, name) <= (MAX_ROUNDS if name == "rounds" else MAX_SECONDS):
            parser.error(f"--{name.replace('_', '-')} takes 1 to {MAX_ROUNDS} rounds, or 0 to {MAX_SECONDS} seconds")
    for path in (options.json, options.chart):
        if path is not None and not path.parent.is_dir():
            parser.error(f"there is no directory {path.parent}")
    if options.chart is not None:
        try:
            chart.pyplot()
        except BenchmarkError as error:
            parser.error(str(error))
    return options


def say(text: str) -> None:
    """Writes a line of progress to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def measured(group: Group, figures: Sequence[Figure], run: Run) -> list[Result]:
    """Measures some of a group's figures in all rounds, and returns their results."""
    for tool in group.tools:
        if (missing := reason_missing(tool)) is not None:
            return [skipped(figure, missing) for figure in figures]
    peers = dict.fromkeys(figure.peer for figure in figures)
    reasons = {peer: reason for peer in peers if (reason := reason_missing(peer)) is not None}
    # Without its peer a figure that has no goal is shown; one that has a goal is skipped.
    wanted = [figure for figure in figures if figure.peer not in reasons or figure.at_least is None]
    sides = [OURS, *(peer for peer in peers if peer not in reasons)]
    samples: list[Sample] = []
    problem = ""
    if wanted:
        measures = frozenset(figure.measure for figure in wanted)
        try:
            for number in range(1, min(run.rounds, group.max_rounds) + 1):
                say(f"round {number} of {min(run.rounds, group.max_rounds)}: {', '.join(sorted(measures))}")
                for sample in group.measure(run, sides, measures):
                    samples.append(sample)
                    say(f"    {sample.side} {sample.measure}: {sample.value:,.6g}")
        except (BenchmarkError, ClientError, OSError) as error:
            problem = f"could not be measured: {error}"
            say(problem)
    return [_result(figure, samples, reasons.get(figure.peer), problem, figure in wanted) for figure in figures]


def _result(figure: Figure, samples: Sequence[Sample], missing: str | None, problem: str, wanted: bool) -> Result:
    if not wanted:
        return skipped(figure, missing or "")
    ours, peer = (values_of(samples, figure.measure, side) for side in (OURS, figure.peer))
    if problem:
        return (
            attrs.evolve(judge(figure, ours, peer), verdict=Verdict.FAILED, reason=problem)
            if ours and peer
            else (failed(figure, problem))
        )
    return attrs.evolve(judge(figure, ours, peer), reason=missing) if missing else judge(figure, ours, peer)


def about(options: argparse.Namespace, seconds: float) -> dict[str, object]:
    """Describes when, where and how it was measured, for the JSON file."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "rounds": options.rounds,
        "seconds_each": options.seconds,
        "idle_seconds": options.idle_seconds,
        "seconds": round(seconds, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = options_of(arguments)
    signal.signal(signal.SIGTERM, _ended)
    _allow_open_files()
    if (load := os.getloadavg()[0]) > 0.5:
        say(f"the machine is busy (load {load:.1f}): the ratios are less certain")
    began = time.monotonic()
    results: list[Result] = []
    run = Run(options.rounds, options.seconds, options.idle_seconds, lambda text: say(f"  {text}"))
    try:
        for group in GROUPS:
            figures = [figure for figure in group.figures if not options.only or figure.name in options.only]
            if figures:
                results += measured(group, figures, run)
    except KeyboardInterrupt:
        say("interrupted; these figures are complete:")
        sys.stdout.write(table(results) if results else "")
        return 130
    seconds = time.monotonic() - began
    sys.stdout.write("\n" + table(results) + f"\n{len(results)} figures, {seconds:.0f} s\n")
    if options.json is not None:
        options.json.write_text(as_json(results, about(options, seconds)))
    if options.chart is not None:
        try:
            chart.draw(results, options.chart)
        except BenchmarkError as error:
            say(str(error))
    return exit_status(results)


def _ended(number: int, _: object) -> NoReturn:
    # An exception, so that every process that was started is ended on the way out.
    sys.exit(128 + number)


def _allow_open_files() -> None:
    """Raises the limit of open files: six nodes with 200 contacts each need more sockets than shells allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
