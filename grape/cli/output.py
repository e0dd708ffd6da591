"""Prints what commands have found: tables and colour on a terminal, plain columns elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

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
    """Prints a value as JSON, indented."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Prints rows under their columns, words for states coloured; ``numbers`` are the columns set to the right.

    Not to a terminal: columns two spaces apart, as wide as their widest entry, for grep and awk.
    """
    texts = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_plain(columns, texts)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    _console().print(table)


def print_values(values: Sequence[tuple[str, object]]) -> None:
    """Prints names with their values, one pair a line; several lines of a value stand under each other."""
    width = max(len(name) for name, _ in values)
    for name, value in values:
        first, *others = ("-" if value is None else str(value)).splitlines() or [""]
        click.echo(f"{name:{width}}  {click.style(first, fg=_colour(first))}")
        for line in others:
            click.echo(f"{'':{width}}  {line}")


def say(text: str) -> None:
    """Prints a line for people, on stderr, so that stdout has results alone."""
    click.echo(text, err=True)


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Shows on a terminal's stderr that something is under way, once it has taken a second."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        if ended.wait(PATIENCE_SECONDS):
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            bar.add_task(doing, total=None)
            ended.wait()

    thread = threading.Thread(target=show, daemon=True)
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


def _print_plain(columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *map(list, texts)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _colour(text: str) -> str | None:
    style = _STYLES.get(text)
    return style if style not in (None, FAINT) else None


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
