"""benchmarks.chart: charts of results are well-formed SVG with all that was measured, which needs no other file."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import attrs
import pytest

from benchmarks import chart
from benchmarks.figures import COMPILED, LIBTORRENT, Cost, Figure, Result, judge, not_judged
from benchmarks.table import as_json
from gauntlet.svg import nice_step, wrapped

RATE = Figure("http-rate", "POST <requests>", "http-rate", "requests/s", at_least=1.5, aim=3.0, compiled_at_least=2.5)
TIME = Figure("time", "time", "time", "ms", less_is_better=True, at_least=0.8)
PING = Figure("lt-ping", "ping", "ping", "queries/s", LIBTORRENT, at_least=1.0)
ABOUT = {
    "processor": "Processor 7",
    "processors": 2,
    "system": "Linux 6",
    "date": "2026-11-25T10:00:00+00:00",
    "commit": "abcdef0+",
    "builds": {"grape": {"build": "pure", "python": "CPython 3", "compiler": "GCC", "optimisation": "profile-guided"}},
    "rounds": 5,
    "seconds_each": 3.0,
}


def results() -> list[Result]:
    rate, fast = judge(RATE, [16.0, 17.0], [10.0, 10.0]), judge(RATE, [20.0], [10.0], COMPILED)
    return [
        attrs.evolve(rate, cost=Cost(30.0, 20.0, 16.0), peer_cost=Cost(60.0, 25.0, 10.0)),
        attrs.evolve(fast, cost=Cost(15.0, 20.0, 20.0)),
        not_judged(judge(TIME, [1.0], [2.0]), "busy"),
        attrs.evolve(judge(PING, [1.0], [100.0]), cost=Cost(3.0, 4.0, 1.0), peer_cost=Cost(1.0, 3.0, 1.0)),
        judge(RATE, [], []),
    ]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_draw_writes_both_charts_with_machine_build_and_verdicts(tmp_path: Path) -> None:
    paths = chart.draw(as_json(results(), ABOUT), tmp_path)
    assert [path.name for path in paths] == [chart.RATIOS, chart.COSTS]
    ratios, costs = (texts(path.read_text()) for path in paths)
    for words in (ratios, costs):
        assert "Processor 7, 2 processors · Linux 6 · 2026-11-25 · commit abcdef0 with changes" in words
        assert "pure build: CPython 3, GCC, profile-guided" in words
    assert [word for word in ratios if word.startswith("goal ")] == ["goal reached", "goal missed", "goal missed"]
    assert "1.65×" in ratios
    assert "POST <requests>" in ratios
    assert any(word.startswith("Not judged") for word in ratios)
    assert [word for word in costs if " + " in word][:3] == ["30.0 + 20.0", "15.0 + 20.0", "60.0 + 25.0"]


def test_charts_are_for_light_and_dark_and_fetch_nothing(tmp_path: Path) -> None:
    for path in chart.draw(as_json(results(), ABOUT), tmp_path):
        svg = path.read_text()
        assert "prefers-color-scheme:dark" in svg
        assert svg.count("http") == svg.count("http-rate") + 1, "the namespace alone is an address"


def test_results_without_costs_have_one_chart(tmp_path: Path) -> None:
    assert [path.name for path in chart.draw(as_json([judge(TIME, [1.0], [2.0])], ABOUT), tmp_path)] == [chart.RATIOS]


def test_bars_are_longer_for_better_figures() -> None:
    assert chart.times_better(0.5, True) == 2.0
    assert chart.times_better(0.5, False) == 0.5


def test_main_draws_the_charts_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    file.write_text(as_json(results(), ABOUT))
    assert chart.main([str(file), str(tmp_path / "images")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert json.loads(file.read_text())["commit"] == "abcdef0+"


@pytest.mark.parametrize(("most", "step"), [(6.0, 1.0), (7.0, 2.0), (250.0, 50.0), (0.9, 0.2), (60.1, 20.0)])
def test_nice_step_has_six_steps_at_most(most: float, step: float) -> None:
    assert nice_step(most) == pytest.approx(step)


def test_wrapped_breaks_between_words() -> None:
    assert wrapped("one two three", 60) == ["one two", "three"]
