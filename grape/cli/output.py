"""Prints what commands have found: tables and colour on a terminal, plain columns elsewhere, JSON for programs.

Text from the network cannot steer a terminal: control characters are printed escaped, as ``\\x1b``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from grape.settings.texts import in_one_line

# What takes longer shows that it is under way.
PATIENCE_SECONDS = 1.0

GOOD, BAD, WARNING, FAINT = "green", "red", "yellow", "dim"

_STYLES = {
    "ok": GOOD,
    "good": GOOD,
    "ready": GOOD,
    "answered": GOOD,
    "failed": BAD,
    "isolated": BAD,
    "stopping": BAD,
    "silent": BAD,
    "late": WARNING,
    "questionable": WARNING,
    "joining": WARNING,
    "degraded": WARNING,
    "warning": WARNING,
    "unawaited": FAINT,
    "skipped": FAINT,
}


def print_json(value: object) -> None:
    """Prints a value as JSON in ASCII, indented: whatever the terminal and its encoding are, it parses."""
    print_raw(json.dumps(value, indent=1))


def print_line(text: str) -> None:
    """Prints text on a line of its own, control characters escaped."""
    print_raw(in_one_line(text))


def print_raw(text: str) -> None:
    """Prints text and a newline as they are. Raises OSError if stdout cannot be written."""
    if sys.stdout is None:
        raise OSError("stdout is closed")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Prints rows under their columns, words for states coloured; ``numbers`` are the columns set to the right.

    Not to a terminal: columns two spaces apart, as wide as their widest entry, for grep and awk.
    """
    texts = [["-" if cell is None else in_one_line(str(cell)) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        print_raw("\n".join(_plain_lines([list(columns), *texts])))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def print_values(values: Sequence[tuple[str, object]]) -> None:
    """Prints names with their values, one pair a line; several lines of a value stand under each other."""
    width = max(len(name) for name, _ in values)
    for name, value in values:
        first, *others = ("-" if value is None else str(value)).splitlines() or [""]
        print_raw(f"{name:{width}}  {coloured(in_one_line(first))}")
        for line in others:
            print_line(f"{'':{width}}  {line}")


def say(text: str) -> None:
    """Prints a line for people on stderr, so that stdout has results alone; control characters are escaped."""
    # There is nobody to tell that stderr is closed.
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{in_one_line(text)}\n")


def coloured(text: str) -> str:
    """Returns a word for a state in its colour: on a terminal, and unless NO_COLOR is set (no-color.org)."""
    style = _STYLES.get(text)
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(sys.stdout)
    return text if style in (None, FAINT) or is_plain else click.style(text, fg=style)


def is_terminal(stream: TextIO | None) -> bool:
    """Returns True if a stream goes to people."""
    return stream is not None and stream.isatty()


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Shows on a terminal's stderr that something is under way, once it has taken a second."""
    if not is_terminal(sys.stderr):
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_show_progress, args=(in_one_line(doing), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def milliseconds(seconds: float | None) -> str | None:
    """Returns seconds in milliseconds, as text with a unit."""
    if seconds is None:
        return None
    return f"{seconds * 1000:.1f} ms" if seconds < 10 else f"{seconds:.0f} s"


def age(seconds: float | None) -> str | None:
    """Returns a duration as people say it: 3 s, 12 min, 5 h, 2 d."""
    if seconds is None:
        return None
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(count: int, thing: str) -> str:
    """Returns a number of things: 1 peer, 2 peers."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _show_progress(doing: str, ended: threading.Event) -> None:
    if ended.wait(PATIENCE_SECONDS):
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    class Terminal(Console):
        def show_cursor(self, show: bool = True) -> bool:
            # Hidden, it would stay so where a signal ends the process.
            return False

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
        bar.add_task(doing, total=None)
        ended.wait()


def _plain_lines(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
