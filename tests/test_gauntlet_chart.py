"""gauntlet.chart and gauntlet.gauges: figures beside their limits, which are those of the rows' goals."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gauntlet import chart
from gauntlet.__main__ import ROWS
from gauntlet.gauges import SECTIONS, Gauge, Kind
from gauntlet.row import Record
from gauntlet.table import as_json

GAUGES = [gauge for gauges in SECTIONS.values() for gauge in gauges]
# Limits that a goal has in other words.
WORDS = {("poisoning", 1.0): "one entry", ("hour", 60.0): "a minute"}
ABOUT = {
    "processor": "Processor 7",
    "processors": 2,
    "system": "Linux 6",
    "date": "2026-11-25T10:00:00+00:00",
    "commit": "abcdef0",
    "interpreter": {"build": "pure", "python": "CPython 3", "compiler": "GCC", "optimisation": "profile-guided"},
}


def record(row: str, figures: dict[str, float | str], misses: tuple[str, ...] = (), skipped: str = "") -> Record:
    return Record(row, f"what {row}", f"goal of {row}", figures, misses, 1.0, skipped)


@pytest.mark.parametrize("gauge", GAUGES, ids=lambda gauge: f"{gauge.row} {gauge.figure}")
def test_limit_of_a_gauge_is_in_the_goal_of_its_row(gauge: Gauge) -> None:
    (goal,) = [row.goal for row in ROWS if row.name == gauge.row]
    ways = {
        f"{gauge.limit:,g} {gauge.unit}",
        f"{gauge.limit / 1000:g} s" if gauge.unit == "ms" else "",
        f"{gauge.limit / 1000:.1f} s" if gauge.unit == "ms" else "",
        f"{gauge.limit * 100:g} %" if gauge.kind is Kind.FOUND else "",
        f" {gauge.limit:g} " if gauge.unit in ("", "times", "times the rate") else "",
        f"<= {gauge.limit:g}" if gauge.unit == "times" else "",
        WORDS.get((gauge.row, gauge.limit), ""),
    }
    assert any(way in goal for way in ways if way), goal


@pytest.mark.parametrize(
    ("gauge", "figure", "used", "words"),
    [
        (Gauge("r", "f", "", 50, "ms"), 12.5, 0.25, "12.5 ms (limit 50)"),
        (Gauge("r", "f", "", 10, "ms"), "1.4, 8, 0.62", 0.8, "8 ms (limit 10)"),
        (Gauge("r", "f", "", 0.25, "times", Kind.LEAST), 0.5, 0.5, "0.5 times (at least 0.25)"),
        (Gauge("r", "f", "", 0.98, "%", Kind.FOUND), "1,980 of 2,000 (99.00%)", 0.5, "99 % found (at least 98 %)"),
        (Gauge("r", "f", "", 1, ""), 2, 2.0, "2 (limit 1)"),
    ],
)
def test_gauge_tells_the_share_of_its_limit(gauge: Gauge, figure: float | str, used: float, words: str) -> None:
    value = gauge.value({"f": figure})
    assert value is not None
    assert gauge.used(value) == pytest.approx(used)
    assert gauge.words(value) == words


def test_gauge_without_its_figure_has_no_value() -> None:
    assert Gauge("r", "f", "", 50, "ms").value({}) is None
    assert Gauge("r", "f", "", 50, "ms").value({"f": "none"}) is None
    assert Gauge("r", "found", "", 0.9, "%", Kind.FOUND).value({"found": "0 of 0"}) is None


def test_chart_has_bars_and_the_rows_without_one_and_says_what_missed(tmp_path: Path) -> None:
    records = [
        record("three", {"first ms": 30.0, "p99 ms": 75.0}, ("p99 < 50 ms",)),
        record("loss", {"found": "999 of 1,000 (99.90%)"}),
        record("browsers", {"cells": 283}),
        record("hosts-far", {"p50 ms": 1.0}, skipped="there is no root"),
    ]
    path = chart.draw(as_json(records, (), short=True, seconds=61.4, about=ABOUT), tmp_path)
    root = ET.fromstring(path.read_text())
    texts = [(each.text, each.get("class")) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert ("Processor 7, 2 processors · Linux 6 · 2026-11-25 · commit abcdef0", "soft") in texts
    assert ("2 of 4 rows pass, 1 skipped; 61 s; a short run, of smaller sizes", "good") in texts
    assert ("missed: three", "bad") in texts
    assert ("30 ms (limit 300)", "soft") in texts
    assert ("75 ms (limit 50)", "bad") in texts
    assert ("99.9 % found (at least 99.5 %)", "soft") in texts
    assert ("what browsers: goal of browsers", "ink") in texts
    assert not [text for text, _ in texts if text and "400 ms away" in text]


@pytest.mark.parametrize(("load", "busy"), [([0.4, 3.0, 3.0], False), ([1.5, 0.0, 0.0], True)])
def test_chart_says_that_the_machine_was_busy(load: list[float], busy: bool, tmp_path: Path) -> None:
    written = as_json([record("browsers", {"cells": 1})], (), short=False, seconds=1.0, about={**ABOUT, "load": load})
    assert ("its load was 1.5" in chart.draw(written, tmp_path).read_text()) is busy


def test_main_draws_the_chart_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gauntlet.json"
    file.write_text(as_json([record("browsers", {"cells": 1})], (), short=False, seconds=1.0))
    assert chart.main([str(file), str(tmp_path / "images")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'images' / chart.CHART}\n"
