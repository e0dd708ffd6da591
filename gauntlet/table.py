"""Formats the results as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from types import MappingProxyType

import attrs

from gauntlet.row import Figure, Record

WIDTHS = (24, 38, 46, 58, 6)
HEAD = ("row", "what", "goal", "this run", "")


def table(records: Sequence[Record], footer: Sequence[tuple[str, str]]) -> str:
    """Formats all rows, and below them ``footer``: faults of the reference, each with the rows that test for it."""
    lines = [_line(HEAD), "  ".join("-" * width for width in WIDTHS)]
    for record in records:
        cells = (record.name, record.what, record.goal, _figures(record.figures), record.result)
        lines.append(_line(cells))
        if record.skipped:
            lines.append(_line(("", "", "", f"skipped: {record.skipped}", "")))
        if record.misses:
            lines.append(_line(("", "", "", f"missed: {'; '.join(record.misses)}", "")))
    lines += ["", "Faults of the reference (grenache-grape 1.0.0), and the rows that test for them:"]
    lines += [f"  {fault:<76}  {row}" for fault, row in footer]
    named = {result: [record.name for record in records if record.result == result] for result in ("FAIL", "skip")}
    passed = sum(record.result == "pass" for record in records)
    lines += [
        "",
        f"{passed} of {len(records)} rows pass"
        + "".join(
            f"; {word}: {', '.join(named[result])}"
            for word, result in (("failed", "FAIL"), ("skipped", "skip"))
            if named[result]
        ),
    ]
    return "\n".join(lines) + "\n"


def as_json(
    records: Sequence[Record],
    footer: Sequence[tuple[str, str]],
    short: bool,
    seconds: float,
    about: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """Formats the same as JSON; ``about`` has more fields for the top level."""
    rows = [{**attrs.asdict(record), "ok": record.ok} for record in records]
    faults = [{"fault": fault, "rows": row} for fault, row in footer]
    run = {"short": short, "seconds": round(seconds, 1)}
    return json.dumps({**about, **run, "rows": rows, "faults": faults}, indent=1) + "\n"


def _figures(figures: Mapping[str, Figure]) -> str:
    return ", ".join(f"{name} {_figure(value)}" for name, value in figures.items())


def _figure(value: Figure) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else value


def _line(cells: Sequence[str]) -> str:
    columns = [wrap(cell, width) or [""] for cell, width in zip(cells, WIDTHS, strict=True)]
    height = max(map(len, columns))
    rows = (
        "  ".join(
            (column[line] if line < len(column) else "").ljust(width)
            for column, width in zip(columns, WIDTHS, strict=True)
        )
        for line in range(height)
    )
    return "\n".join(row.rstrip() for row in rows)
