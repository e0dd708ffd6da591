"""Measures this grape beside grenache-grape and libtorrent, and prints one table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import builds, chart, http, idle, krpc, many, start, state
from benchmarks.figures import STATUSES, BenchmarkError, Result, exit_status
from benchmarks.load import watch
from benchmarks.rounds import measured, say
from benchmarks.run import Run
from benchmarks.table import as_json, cost_table, table
from benchmarks.tools import versions
from gauntlet import about

# In the order of the table.
GROUPS = (http.GROUP, krpc.GROUP, many.GROUP, idle.GROUP, state.LOOKUPS, state.QUERIES, start.GROUP)
NAMES = [figure.name for group in GROUPS for figure in group.figures]
ROUNDS = 5
SECONDS = 3.0
IDLE_SECONDS = 60.0
MAX_ROUNDS = 100
MAX_SECONDS = 3_600
QUICK = (2, 1.0, 10.0)
# Before the first round the machine is watched for so long.
LOOK_SECONDS = 3.0
STATUS = "Status: " + ", ".join(f"{status} {meaning}" for status, meaning in STATUSES.items())


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses and checks the command line. Ends the process with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures how fast this grape is beside grenache-grape 1.0.0 (npm) and libtorrent (PyPI), in turn "
        "on this machine. Takes about thirteen minutes, with --compiled twenty; leave the machine idle meanwhile: "
        "rounds during which other work takes more than a tenth of it are repeated, or not judged.",
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
    parser.add_argument(
        "--python", metavar="PYTHON", help="measure the grape that this Python has installed [the one of this checkout]"
    )
    parser.add_argument(
        "--compiled", metavar="PYTHON", help="measure the compiled build that this Python has installed, as well"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as JSON, too")
    parser.add_argument(
        "--results", type=Path, metavar="DIRECTORY", help="write bench.json and charts (SVG) to DIRECTORY, too"
    )
    options = parser.parse_args(arguments)
    usual = QUICK if options.quick else (ROUNDS, SECONDS, IDLE_SECONDS)
    for name, value in zip(("rounds", "seconds", "idle_seconds"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
        if not 0 < getattr(options, name) <= (MAX_ROUNDS if name == "rounds" else MAX_SECONDS):
            parser.error(f"--{name.replace('_', '-')} takes 1 to {MAX_ROUNDS} rounds, or 0 to {MAX_SECONDS} seconds")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"there is no directory {options.json.parent}")
    try:
        options.builds = _builds(options)
    except BenchmarkError as error:
        parser.error(str(error))
    return options


def _builds(options: argparse.Namespace) -> dict[str, builds.Build]:
    """Finds the builds by their side, in the order of the table. Raises BenchmarkError."""
    found = [builds.found(options.python)]
    if options.compiled is not None:
        found.append(builds.found_compiled(options.compiled))
    sides = {build.side: build for build in found}
    if len(sides) < len(found):
        raise BenchmarkError(f"both builds are {found[0].told['build']} ones: {found[0].python}, {found[1].python}")
    return sides


def about_run(options: argparse.Namespace, seconds: float) -> dict[str, object]:
    """Describes the settings of a run that took so many seconds, for the JSON file."""
    return {
        "versions": versions(),
        "builds": {side: dict(build.told) for side, build in options.builds.items()},
        "rounds": options.rounds,
        "seconds_each": options.seconds,
        "idle_seconds": options.idle_seconds,
        "seconds": round(seconds, 1),
    }


def say_where(machine: Mapping[str, object], options: argparse.Namespace) -> None:
    """Writes what is measured on which machine, and what else that does just now."""
    say(f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB, {machine['system']}")
    for build in options.builds.values():
        say(builds.line(build))
    if builds.differ(options.builds):
        say("WARNING: the builds are of different sources; install the compiled one anew")
    say("peers: " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    load = watch()
    time.sleep(LOOK_SECONDS)
    say(f"load {os.getloadavg()[0]:.1f}; {load()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = options_of(arguments)
    signal.signal(signal.SIGTERM, _ended)
    _allow_open_files()
    machine = about.about()
    say_where(machine, options)
    began = time.monotonic()
    results: list[Result] = []
    run = Run(options.rounds, options.seconds, options.idle_seconds, lambda text: say(f"  {text}"), options.builds)
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
    status = exit_status(results)
    sys.stdout.write("\n" + table(results) + cost_table(results))
    if len(options.builds) == 1:
        sys.stdout.write(f"\n{builds.line(next(iter(options.builds.values())))}; the other build was not measured\n")
    sys.stdout.write(f"\n{len(results)} figures, {seconds:.0f} s\nstatus {status}: {STATUSES[status]}\n")
    written = as_json(results, {**machine, **about_run(options, seconds), "status": status})
    if options.json is not None:
        options.json.write_text(written)
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / chart.RESULTS).write_text(written)
        for path in chart.draw(written, options.results):
            say(f"chart: {path}")
    return status


def _ended(number: int, _: object) -> NoReturn:
    # An exception, so that every process that was started is ended on the way out.
    sys.exit(128 + number)


def _allow_open_files() -> None:
    """Raises the limit of open files: six nodes with 200 contacts each need more sockets than shells allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
