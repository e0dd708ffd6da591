"""Formats the results as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import attrs

from benchmarks.figures import BUILDS, COMPILED, IN_MEMORY, OURS, Cost, Figure, Result, Spread, Verdict

HEAD = ("figure", "", "build", "ours", "peer", "", "ratio", "at least", "aim", "")
COST_HEAD = ("user + system time of a request, us", "grape", "grape compiled", "grenache-grape", "libtorrent")
BUILD_NAMES = {side: name for name, side in BUILDS.items()}


def table(results: Sequence[Result]) -> str:
    """Formats all results, one line each, and below them the reasons why some have no figure."""
    lines = _lines([HEAD, *(_cells(result) for result in results)])
    reasons = dict.fromkeys(result.reason for result in results if result.reason)
    for reason in reasons:
        names = ", ".join(dict.fromkeys(result.figure.name for result in results if result.reason == reason))
        lines += ["", f"{names}: {reason}"]
    return "\n".join(lines) + "\n"


def cost_table(results: Sequence[Result]) -> str:
    """Formats what a request costs each side, a line for each measure; "" if that was measured for none.

    Other work on the machine changes the processor time less than it changes rates.
    """
    costs: dict[str, dict[str, Cost]] = {}
    for result in results:
        for side, cost in ((result.side, result.cost), (result.figure.peer, result.peer_cost)):
            if cost is not None and side in COST_HEAD:
                costs.setdefault(result.figure.measure, {})[side] = cost
    if not costs:
        return ""

    def cell(cost: Cost | None) -> str:
        return "" if cost is None else f"{cost.user:.1f} + {cost.system:.1f}"

    rows = [COST_HEAD, *((name, *(cell(of.get(side)) for side in COST_HEAD[1:])) for name, of in costs.items())]
    return "\n" + "\n".join(_lines(rows)) + "\n"


def as_json(results: Sequence[Result], about: Mapping[str, object]) -> str:
    """Formats the same as JSON; ``about`` has more fields for the top level."""
    rows = [
        {**attrs.asdict(result), "verdict": result.verdict.name.lower(), "build": BUILD_NAMES[result.side]}
        for result in results
    ]
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
        BUILD_NAMES[result.side],
        _spread(result.ours),
        _spread(result.peer),
        figure.peer if result.peer is not None or result.verdict is Verdict.SKIPPED else "",
        _spread(result.ratio),
        _goal(figure, figure.goal(result.side)),
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


def goal_row(figure: Figure) -> str:
    """Returns the row of docs/performance.md that has a figure's goals."""
    compiled = "" if figure.peer == IN_MEMORY else _goal(figure, figure.goal(COMPILED))
    cells = (f"`{figure.name}`", figure.peer, _goal(figure, figure.goal(OURS)), compiled, _goal(figure, figure.aim))
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Formats rows, the first of which is the head, as lines of aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    head, *others = (_line(row, widths) for row in rows)
    return [head, "  ".join("-" * width for width in widths), *others]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
