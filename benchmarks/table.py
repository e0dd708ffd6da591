"""Formats the results as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import attrs

from benchmarks.figures import Figure, Result, Spread, Verdict

HEAD = ("figure", "", "ours", "peer", "", "ratio", "at least", "aim", "")


def table(results: Sequence[Result]) -> str:
    """Formats all results, one line each, and below them the reasons why some have no figure."""
    rows = [HEAD, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    reasons = dict.fromkeys(result.reason for result in results if result.reason)
    for reason in reasons:
        names = ", ".join(result.figure.name for result in results if result.reason == reason)
        lines += ["", f"{names}: {reason}"]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result], about: Mapping[str, object]) -> str:
    """Formats the same as JSON; ``about`` has more fields for the top level."""
    rows = [{**attrs.asdict(result), "verdict": result.verdict.name.lower()} for result in results]
    return json.dumps({**about, "figures": rows}, indent=1) + "\n"


def number(value: float) -> str:
    """Formats a value with three significant digits, without decimals from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _cells(result: Result) -> tuple[str, ...]:
    figure = result.figure
    return (
        figure.name,
        f"{figure.what}, {figure.unit}",
        _spread(result.ours),
        _spread(result.peer),
        figure.peer if result.peer is not None or result.verdict is Verdict.SKIPPED else "",
        _spread(result.ratio),
        _goal(figure, figure.at_least),
        _goal(figure, figure.aim),
        result.verdict.value,
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}-{number(spread.high)})"


def _goal(figure: Figure, goal: float | None) -> str:
    if goal is None:
        return ""
    return f"<= {goal:.3g}" if figure.less_is_better else f"{goal:.3g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
