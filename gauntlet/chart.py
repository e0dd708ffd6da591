"""Draws the results of the gauntlet as a chart: ``python -m gauntlet.chart gauntlet.json docs/images``.

gauntlet.svg has each figure with a limit as a share of what is allowed, and the rows without one with their result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gauntlet.gauges import SECTIONS, Gauge
from gauntlet.svg import Drawing, head, stamp, wrapped

RESULTS = "gauntlet.json"
CHART = "gauntlet.svg"
WIDTH = 960.0
MARGIN = 24.0
LEFT = 380.0
# The limit, and the end of the bars, which are cut there.
LIMIT = 660.0
END = 700.0
ROW = 18.0
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def _rows(results: Mapping[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in results["rows"] if not row["skipped"]}


def about_run(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the lines below the title, as (class, text): machine, build, and how many rows passed."""
    rows = results["rows"]
    missed = [row["name"] for row in rows if row["misses"]]
    skipped = [row["name"] for row in rows if row["skipped"]]
    passed = len(rows) - len(missed) - len(skipped)
    lines = [("soft", stamp(results))]
    if told := results.get("interpreter"):
        lines.append(("soft", f"{told['build']} build: {told['python']}, {told['compiler']}, {told['optimisation']}"))
    kind = "; a short run, of smaller sizes" if results["short"] else ""
    skips = f", {len(skipped)} skipped" if skipped else ""
    lines.append(("good", f"{passed} of {len(rows)} rows pass{skips}; {results['seconds']:.0f} s{kind}"))
    if is_busy(results):
        lines.append(("bad", f"The machine had other work: its load was {results['load'][0]:.1f} before."))
    if missed:
        lines.append(("bad", f"missed: {', '.join(missed)}"))
    return lines


def is_busy(results: Mapping[str, Any]) -> bool:
    """Returns True if other work filled half of the processors before the run, so that figures in time mean little."""
    load = results.get("load")
    return bool(load and load[0] > results["processors"] / 2)


def gauntlet(results: Mapping[str, Any]) -> str:
    """Returns the chart."""
    title = "Grape for Python under failures, load and attacks"
    drawing = Drawing(WIDTH, title, "Bars: figures as shares of their limits. Below: rows without such a figure.")
    y = head(drawing, title, about_run(results), MARGIN)
    drawing.text(MARGIN, y, "Bars: the share of each limit that was used; less is better.", "soft")
    y += 10
    rows = _rows(results)
    for text, gauges in SECTIONS.items():
        shown = [
            (gauge, value)
            for gauge in gauges
            if gauge.row in rows and (value := gauge.value(rows[gauge.row]["figures"])) is not None
        ]
        if shown:
            drawing.text(MARGIN, y + 22, text, "ink strong")
            y = _section(drawing, shown, y + 30)
    drawn = {gauge.row for gauges in SECTIONS.values() for gauge in gauges}
    others = [row for name, row in rows.items() if name not in drawn]
    if others:
        drawing.text(MARGIN, y + 22, "Right or wrong", "ink strong")
        y = _others(drawing, others, y + 30)
    return drawing.svg(y + 20)


def _section(drawing: Drawing, shown: Sequence[tuple[Gauge, float]], y: float) -> float:
    """Draws bars with an axis below them, and returns the y below that."""
    ends = y + ROW * len(shown)
    for share in SHARES:
        x = LEFT + (LIMIT - LEFT) * share
        drawing.line(x, y, x, ends, "goal" if share == 1 else "axis" if share == 0 else "grid")
        drawing.text(x, ends + 13, "limit" if share == 1 else f"{share:.0%}", "soft", "middle")
    for index, (gauge, value) in enumerate(shown):
        top = y + index * ROW
        used = gauge.used(value)
        is_over = used > 1
        drawing.text(LEFT - 10, top + 13, gauge.label, "ink", "end")
        width = min((LIMIT - LEFT) * used, END - LEFT)
        drawing.bar(LEFT, top + 4, width, ROW - 7, "bad" if is_over else "one", f"{gauge.row}: {used:.0%} of the limit")
        drawing.text(END + 10, top + 13, gauge.words(value), "bad" if is_over else "soft")
    return ends + 18


def _others(drawing: Drawing, rows: Sequence[Mapping[str, Any]], y: float) -> float:
    """Writes rows without a drawn figure, their result before them, and returns the y below them."""
    for row in rows:
        y += 17
        missed = bool(row["misses"])
        drawing.text(MARGIN, y, "missed" if missed else "pass", "bad" if missed else "good")
        parts = wrapped(f"{row['what']}: {row['goal']}", WIDTH - MARGIN * 2 - 56)
        for number, part in enumerate(parts):
            y += 15 if number else 0
            drawing.text(MARGIN + 56, y, part, "ink")
    return y


def draw(written: str, directory: Path) -> Path:
    """Draws the chart of results in JSON into a directory, and returns its path."""
    path = directory / CHART
    path.write_text(gauntlet(json.loads(written)))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the chart of a file of results."""
    parser = argparse.ArgumentParser(prog="python -m gauntlet.chart", description="Draws the chart of make gauntlet.")
    parser.add_argument("results", type=Path, help=f"the file that make gauntlet wrote: build/results/{RESULTS}")
    parser.add_argument("directory", type=Path, help="where the chart goes: docs/images")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{draw(options.results.read_text(), options.directory)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
