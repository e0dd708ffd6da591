"""Implements ``grape doctor``: examines a grape, and prints what was found and what to do."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import click

from grape.cli.doctor.checks import findings_of
from grape.cli.doctor.findings import STATES, Finding, has_failed
from grape.cli.doctor.gather import STEPS, Settings, examine
from grape.cli.output import coloured, is_terminal, print_json, print_raw
from grape.cli.people import EXIT_NOTHING_FOUND, names_grapes, prints_json
from grape.cli.words import NAME
from grape.settings.texts import in_one_line

STATE_WIDTH = 7
MIN_WIDTH = 40


@click.command(short_help="find out what is wrong with a grape")
@click.argument("name", type=NAME, required=False)
@names_grapes("The grape to examine; further ones are compared with it.")
@click.option("--node", metavar="HOST:PORT", help="Its UDP address, where it does not tell it.")
@click.option("--no-announce", is_flag=True, help="Announce nothing: leaves out what is found by announces.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait for each answer; over UDP 1 s at most, twice.",
)
@prints_json
def doctor(
    name: str | None, urls: list[str], timeout: float, *, node: str | None, no_announce: bool, as_json: bool
) -> int:
    """Find out what is wrong with a grape, and what to do.

    Tells whether others reach it, whether its bootstrap nodes answer and who lists it; whether ids, clocks and ages
    agree; how state file, descriptors and limits are. With NAME it tells why a lookup of that service is empty;
    without, it announces a name made up for it and looks that up. Ends with 1 if a check failed.
    """
    settings = Settings(urls, name, node, not no_announce, timeout, min(timeout, 1.0))
    with _progress() as begins:
        findings = findings_of(examine(settings, begins))
    failed = has_failed(findings)
    if as_json:
        print_json({"ok": not failed, "findings": [attrs.asdict(finding) for finding in findings]})
    else:
        _print(findings)
    return EXIT_NOTHING_FOUND if failed else 0


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(in_one_line(finding.name)) for finding in findings)
    indent = " " * (STATE_WIDTH + width + 4)
    for finding in findings:
        padding = " " * (STATE_WIDTH - len(finding.state))
        first, *others = _lines(finding.found, len(indent)) + _lines(finding.advice, len(indent))
        print_raw(f"{coloured(finding.state)}{padding}  {in_one_line(finding.name):{width}}  {first}")
        for line in others:
            print_raw(f"{indent}{line}")
    numbers = {state: sum(finding.state == state for finding in findings) for state in STATES}
    print_raw(f"\n{', '.join(f'{number} {state}' for state, number in numbers.items() if number)}")


def _lines(text: str, indent: int) -> list[str]:
    """Returns a text as lines: broken for a terminal, else a single one, for grep."""
    if not is_terminal(sys.stdout):
        return [in_one_line(text)] if text else []
    width = max(shutil.get_terminal_size().columns - indent, MIN_WIDTH)
    return textwrap.wrap(in_one_line(text), width, break_on_hyphens=False)


@contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """Shows on a terminal's stderr which of the steps is under way; gives what is told of each step."""
    if not is_terminal(sys.stderr):
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("examining {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(STEPS[0], total=len(STEPS))
        yield lambda step: bar.update(task, description=step, completed=STEPS.index(step))
