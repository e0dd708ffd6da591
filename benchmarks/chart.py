"""Draws the results as a chart: how many times better than its peer each figure is, with its goals."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import BenchmarkError, Result, Verdict

COLOURS = {Verdict.AIM: "#2a9d5c", Verdict.PASS: "#8cc7a1", Verdict.MISSED: "#d1495b", Verdict.SHOWN: "#9aa5b1"}
TICKS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


def pyplot() -> Any:
    """Returns matplotlib's pyplot, set up without a display. Raises BenchmarkError if it is not installed."""
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise BenchmarkError("--chart needs matplotlib: pip install 'grape-dht[bench]', or matplotlib") from error


def times_better(result: Result, value: float) -> float:
    """Converts a ratio so that more is better: 1 / value where less is better."""
    return 1 / value if result.figure.less_is_better else value


def draw(results: Sequence[Result], path: Path) -> None:
    """Writes the chart of all results with a ratio to a PNG file. Raises BenchmarkError."""
    plot = pyplot()
    shown = [result for result in reversed(results) if result.ratio is not None and result.ratio.low > 0]
    if not shown:
        raise BenchmarkError("there is nothing to draw: no figure has a ratio")
    figure, axes = plot.subplots(figsize=(10, 1.4 + 0.38 * len(shown)))
    for place, result in enumerate(shown):
        assert result.ratio is not None
        middle = times_better(result, result.ratio.median)
        ends = sorted(times_better(result, end) for end in (result.ratio.low, result.ratio.high))
        axes.barh(place, middle, color=COLOURS.get(result.verdict, "#9aa5b1"), height=0.62)
        axes.plot(ends, [place, place], color="#333333", linewidth=1.2)
        for goal, style in ((result.figure.at_least, "-"), (result.figure.aim, ":")):
            if goal is not None:
                at = times_better(result, goal)
                axes.plot([at, at], [place - 0.42, place + 0.42], color="#1d3557", linewidth=1.8, linestyle=style)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.axvline(1.0, color="#333333", linewidth=0.8)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(shown)), [f"{result.figure.name} / {result.figure.peer}" for result in shown], fontsize=8)
    axes.set_xlabel("times better than the peer; line: at least, dotted: aim; thin: all rounds")
    axes.set_title("Grape for Python beside its peers, same machine, same minutes")
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=130, format="png")
    except OSError as error:
        raise BenchmarkError(f"the chart cannot be written: {error}") from error
    finally:
        plot.close(figure)
