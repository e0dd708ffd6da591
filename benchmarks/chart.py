"""Draws the results as charts: ``python -m benchmarks.chart bench.json docs/images``.

bench.svg has how many times better than its peer each figure is, bench-cost.svg the processor time of a request.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import COMPILED, IN_MEMORY, LIBTORRENT, OURS, REFERENCE
from benchmarks.table import number
from gauntlet.svg import Drawing, head, nice_step, stamp

RESULTS = "bench.json"
RATIOS = "bench.svg"
COSTS = "bench-cost.svg"
WIDTH = 960.0
MARGIN = 24.0
LEFT = 330.0
RIGHT = 606.0
BAR = 13.0
TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
HEADS = {
    REFERENCE: "beside {name}, which runs on Node.js {node}",
    LIBTORRENT: "beside {name}, written in C++",
    IN_MEMORY: "with its state in SQLite, beside the same grape without a state file",
}
OF_BUILD = {"pure": "one", "compiled": "two"}
OF_SIDE = {OURS: "one", COMPILED: "two", REFERENCE: "three", LIBTORRENT: "four"}
WORDS = {
    "not_judged": "not judged",
    "missed": "goal missed",
    "failed": "failed",
    "aim": "aim reached",
    "pass": "goal reached",
}
NAMES = {OURS: "pure build", COMPILED: "compiled build"}


def times_better(value: float, less_is_better: bool) -> float:
    """Converts a ratio so that more is better: 1 / value where less is better."""
    return 1 / value if less_is_better else value


def about_run(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the lines below the title, as (class, text): machine, builds, length of the run, and if it counts."""
    lines = [("soft", stamp(results))]
    lines += [
        ("soft", f"{told['build']} build: {told['python']}, {told['compiler']}, {told['optimisation']}")
        for told in results.get("builds", {}).values()
    ]
    lines.append(("soft", f"at most {results['rounds']} rounds of {results['seconds_each']:g} s"))
    if any(row["verdict"] == "not_judged" for row in results["figures"]):
        lines.append(("bad", "Not judged, or not all: other work took more than a tenth of the machine meanwhile."))
    return lines


def _place(value: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    return LEFT + (RIGHT - LEFT) * (min(max(math.log(value), low), high) - low) / (high - low)


def ratios(results: Mapping[str, Any]) -> str:
    """Returns the chart of all figures that have a ratio, by peer."""
    rows = [row for row in results["figures"] if row["ratio"] and row["ratio"]["low"] > 0]
    drawing = Drawing(WIDTH, "Grape for Python beside its peers", "Bars: how many times better each figure is.")
    y = head(drawing, "Grape for Python beside its peers: times better", about_run(results), MARGIN) + 6
    builds = list(dict.fromkeys(row["build"] for row in rows))
    drawing.legend(
        MARGIN,
        y,
        [
            *((OF_BUILD[build], f"{build} build (thin line: all rounds)") for build in builds),
            ("goal", "goal"),
            ("aim", "aim"),
        ],
    )
    y += 14
    for peer, text in HEADS.items():
        of_peer = [row for row in rows if row["figure"]["peer"] == peer]
        if of_peer:
            versions = results.get("versions", {})
            name = f"{peer} {versions.get(peer, '')}".strip()
            drawing.text(MARGIN, y + 22, text.format(name=name, node=versions.get("node", "")), "ink strong")
            y = _section(drawing, of_peer, y + 30)
    drawing.text(
        MARGIN, y + 24, "Ratio of both sides' figures, measured in turn; where less is better, it is inverted.", "soft"
    )
    return drawing.svg(y + 40)


def _section(drawing: Drawing, rows: Sequence[Mapping[str, Any]], y: float) -> float:
    """Draws the rows of one peer with an axis below them, and returns the y below that."""
    names = list(dict.fromkeys(row["figure"]["name"] for row in rows))
    places: list[tuple[str, float]] = []
    ends = y
    for name in names:
        places.append((name, ends))
        ends += BAR * sum(row["figure"]["name"] == name for row in rows) + 9
    for tick in TICKS:
        drawing.line(_place(tick), y, _place(tick), ends, "axis" if tick == 1 else "grid")
        drawing.text(_place(tick), ends + 13, f"{tick:g}×", "soft", "middle")
    for name, top in places:
        of_name = [row for row in rows if row["figure"]["name"] == name]
        middle = top + 4 + BAR * len(of_name) / 2 + 4
        drawing.text(LEFT - 10, middle, of_name[0]["figure"]["what"], "ink", "end")
        for index, row in enumerate(of_name):
            _bar(drawing, row, top + 4 + index * BAR)
    return ends + 16


def _bar(drawing: Drawing, row: Mapping[str, Any], y: float) -> None:
    figure, ratio, verdict = row["figure"], row["ratio"], row["verdict"]
    less = figure["less_is_better"]
    at = _place(times_better(ratio["median"], less))
    one = _place(1.0)
    pale = " pale" if verdict == "not_judged" else ""
    drawing.bar(
        min(one, at), y, abs(at - one), BAR - 2, OF_BUILD[row["build"]] + pale, f"{figure['name']} {row['build']}"
    )
    ends = [_place(times_better(ratio[end], less)) for end in ("low", "high")]
    drawing.line(ends[0], y + BAR / 2 - 1, ends[1], y + BAR / 2 - 1, "range")
    fast = row["build"] == "compiled" and figure["compiled_at_least"] is not None
    for goal, of in ((figure["compiled_at_least" if fast else "at_least"], "goal"), (figure["aim"], "aim")):
        if goal is not None:
            place = _place(times_better(goal, less))
            drawing.line(place, y - 2, place, y + BAR, of)
    values = f"{number(row['ours']['median'])} / {number(row['peer']['median'])} {figure['unit']}"
    drawing.text(RIGHT + 12, y + BAR - 2, f"{times_better(ratio['median'], less):.2f}×", "ink strong")
    drawing.text(RIGHT + 62, y + BAR - 2, values, "soft")
    word = WORDS.get(verdict, "")
    of = {"missed": "bad", "failed": "bad", "not_judged": "soft"}.get(verdict, "good")
    drawing.text(WIDTH - MARGIN, y + BAR - 2, word, of, "end")


def costs(results: Mapping[str, Any]) -> str:
    """Returns the chart of the processor time of a request, for the measures that have it; "" if none has."""
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    whats: dict[str, str] = {}
    for row in results["figures"]:
        side = COMPILED if row["build"] == "compiled" else OURS
        for who, cost in ((side, row.get("cost")), (row["figure"]["peer"], row.get("peer_cost"))):
            if cost and who in OF_SIDE:
                found.setdefault(row["figure"]["measure"], {})[who] = cost
                whats.setdefault(row["figure"]["measure"], row["figure"]["what"])
    if not found:
        return ""
    title = "Processor time of a request: microseconds"
    drawing = Drawing(WIDTH, title, "Bars: user time, and paler the system time, of the process that is asked.")
    y = head(drawing, title, about_run(results), MARGIN) + 6
    sides = [side for side in OF_SIDE if any(side in of for of in found.values())]
    drawing.legend(MARGIN, y, [(OF_SIDE[side], NAMES.get(side, side)) for side in sides])
    for is_http, text in ((True, "HTTP requests"), (False, "KRPC queries")):
        panel = {whats[name]: of for name, of in found.items() if name.startswith("http") is is_http}
        if panel:
            drawing.text(MARGIN, y + 34, text, "ink strong")
            y = _panel(drawing, panel, y + 42)
    drawing.text(MARGIN, y + 24, "User + system time (pale) of the process that is asked; less is better.", "soft")
    return drawing.svg(y + 40)


def _panel(drawing: Drawing, panel: Mapping[str, Mapping[str, Mapping[str, float]]], y: float) -> float:
    """Draws the costs of each side by what is asked, with an axis below, and returns the y below that."""
    most = max(cost["user"] + cost["system"] for of in panel.values() for cost in of.values())
    step = nice_step(most)
    right = LEFT + 470
    scale = (right - LEFT) / (math.ceil(most / step) * step)
    ends = y + sum(BAR * len(of) + 12 for of in panel.values())
    for index in range(round((right - LEFT) / scale / step) + 1):
        x = LEFT + index * step * scale
        drawing.line(x, y, x, ends, "axis" if index == 0 else "grid")
        drawing.text(x, ends + 14, f"{index * step:g}", "soft", "middle")
    for what, of in panel.items():
        y += 6
        drawing.text(LEFT - 10, y + BAR * len(of) / 2 + 4, what, "ink", "end")
        for side, css in OF_SIDE.items():
            if side in of:
                user, system = of[side]["user"] * scale, of[side]["system"] * scale
                drawing.bar(LEFT, y, user, BAR - 1, css, f"{side}: user time")
                drawing.bar(LEFT + user, y, system, BAR - 1, f"{css} pale", f"{side}: system time")
                text = f"{of[side]['user']:.1f} + {of[side]['system']:.1f}"
                drawing.text(LEFT + user + system + 6, y + BAR - 2, text, "soft")
                y += BAR
        y += 6
    return ends + 18


def draw(written: str, directory: Path) -> list[Path]:
    """Draws the charts of results in JSON into a directory, and returns their paths."""
    results = json.loads(written)
    drawn = {RATIOS: ratios(results), COSTS: costs(results)}
    paths = []
    for name, svg in drawn.items():
        if svg:
            (directory / name).write_text(svg)
            paths.append(directory / name)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the charts of a file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart", description="Draws the charts of make bench.")
    parser.add_argument("results", type=Path, help=f"the file that make bench wrote: build/results/{RESULTS}")
    parser.add_argument("directory", type=Path, help="where the charts go: docs/images")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    for path in draw(options.results.read_text(), options.directory):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
