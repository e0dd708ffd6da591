"""Tests the pure parts of the benchmarks: judging and formatting figures, options, loads and contacts."""

from __future__ import annotations

import json
import random
from collections import Counter

import attrs
import pytest

from benchmarks import contacts, http
from benchmarks.__main__ import GROUPS, IDLE_SECONDS, NAMES, QUICK, ROUNDS, SECONDS, options_of
from benchmarks.figures import (
    COMPILED,
    LIBTORRENT,
    OURS,
    REFERENCE,
    STATUSES,
    Cost,
    Figure,
    Spread,
    Verdict,
    exit_status,
    failed,
    judge,
    not_judged,
    percentile,
    skipped,
)
from benchmarks.micro import Timing, pieces, timed
from benchmarks.micro import table as micro_table
from benchmarks.table import as_json, cost_table, goal_row, number, table
from gauntlet.machine import ROOT
from grape.dht.nodeid import position, shared_bits
from grape.dht.routing import RoutingTable

RATE = Figure("rate", "requests", "rate", "requests/s", at_least=1.5, aim=2.0)
TIME = Figure("time", "time", "time", "ms", less_is_better=True, at_least=0.8, aim=0.6)
SHOWN = Figure("shown", "memory", "shown", "MB")


# Judging


@pytest.mark.parametrize(
    ("figure", "ours", "verdict"),
    [
        (RATE, 20.0, Verdict.AIM),
        (RATE, 15.0, Verdict.PASS),
        (RATE, 14.9, Verdict.MISSED),
        (TIME, 6.0, Verdict.AIM),
        (TIME, 8.0, Verdict.PASS),
        (TIME, 8.1, Verdict.MISSED),
        (SHOWN, 99.0, Verdict.SHOWN),
    ],
)
def test_judge_compares_the_ratio_with_the_goals(figure: Figure, ours: float, verdict: Verdict) -> None:
    assert judge(figure, [ours], [10.0]).verdict is verdict


def test_judge_takes_the_median_of_the_rounds_ratios() -> None:
    # A machine that is twice as fast in the second round changes no ratio.
    result = judge(RATE, [10.0, 20.0, 33.0], [10.0, 20.0, 30.0])
    assert result.ratio == Spread(1.0, 1.0, 33.0 / 30.0, 3)
    assert (result.ours, result.peer) == (Spread(20.0, 10.0, 33.0, 3), Spread(20.0, 10.0, 30.0, 3))


def test_judge_fails_a_goal_that_was_not_measured() -> None:
    assert judge(RATE, [], [1.0]).verdict is Verdict.FAILED
    assert judge(RATE, [1.0], []).verdict is Verdict.FAILED
    assert judge(RATE, [1.0], [0.0]).verdict is Verdict.FAILED
    assert judge(SHOWN, [1.0], []).verdict is Verdict.SHOWN


def test_compiled_build_has_goals_of_its_own() -> None:
    figure = Figure("rate", "requests", "rate", "requests/s", at_least=1.5, aim=3.0, compiled_at_least=2.0)
    assert judge(figure, [1.7], [1.0]).verdict is Verdict.PASS
    assert judge(figure, [1.7], [1.0], COMPILED).verdict is Verdict.MISSED
    assert judge(RATE, [1.7], [1.0], COMPILED).verdict is Verdict.PASS


def test_exit_status_tells_missed_from_skipped_and_from_not_judged() -> None:
    good, bad = judge(RATE, [2.0], [1.0]), judge(RATE, [1.0], [1.0])
    assert exit_status([good]) == 0
    assert exit_status([good, not_judged(bad, "busy")]) == 4
    assert exit_status([not_judged(good, "busy"), skipped(RATE, "no peer")]) == 4
    assert exit_status([not_judged(good, "busy"), bad]) == 1
    assert exit_status([not_judged(failed(RATE, "gone"), "busy")]) == 1
    assert not_judged(judge(SHOWN, [1.0], [1.0]), "busy").verdict is Verdict.SHOWN
    assert exit_status([good, skipped(RATE, "no peer")]) == 3
    assert exit_status([bad, skipped(RATE, "no peer")]) == 1
    assert exit_status([good, failed(RATE, "gone")]) == 1


def test_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


# The table


def test_table_has_a_line_for_each_figure_and_the_reasons_below() -> None:
    results = [judge(RATE, [15.0, 16.0], [10.0, 10.0]), judge(TIME, [1.0], [2.0]), skipped(SHOWN, "npm is missing")]
    lines = table(results).splitlines()
    assert lines[0].split() == ["figure", "build", "ours", "peer", "ratio", "at", "least", "aim"]
    assert lines[2].split("  ")[0] == "rate"
    assert "15.5 (15.0-16.0)" in lines[2]
    assert "1.55 (1.50-1.60)" in lines[2]
    assert lines[2].endswith("pass")
    assert "<= 0.8" in lines[3]
    assert lines[3].endswith("aim")
    assert lines[4].endswith("skipped")
    assert lines[-1] == "shown: npm is missing"


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")]
)
def test_number_has_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_json_has_the_spreads_and_the_verdict() -> None:
    written = json.loads(as_json([judge(RATE, [2.0], [1.0])], {"rounds": 1}))
    assert written["rounds"] == 1
    (row,) = written["figures"]
    assert row["verdict"] == "aim"
    assert row["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0, "count": 1}


def test_cost_table_has_user_and_system_time_of_each_side() -> None:
    result = attrs.evolve(judge(RATE, [2.0], [1.0]), cost=Cost(30.04, 20.0, 1.0), peer_cost=Cost(50.0, 25.0, 1.0))
    compiled = attrs.evolve(judge(RATE, [3.0], [1.0], COMPILED), cost=Cost(15.0, 19.0, 1.0))
    line = cost_table([result, compiled]).splitlines()[3]
    assert line.split("  ")[0] == "rate"
    assert "30.0 + 20.0" in line
    assert "15.0 + 19.0" in line
    assert line.rstrip().endswith("50.0 + 25.0")
    assert cost_table([judge(TIME, [1.0], [1.0])]) == ""


# The command


def test_names_are_unique_and_libtorrents_measures_are_the_references() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    figures = [figure for group in GROUPS for figure in group.figures]
    assert {f.measure for f in figures if f.peer == LIBTORRENT} <= {f.measure for f in figures if f.peer == REFERENCE}
    for figure in figures:
        for goal in (figure.goal(OURS), figure.goal(COMPILED)):
            if goal is not None and figure.aim is not None:
                assert (figure.aim < goal) is figure.less_is_better


def test_goals_in_the_documentation_are_those_that_are_judged() -> None:
    rows = [goal_row(figure) for group in GROUPS for figure in group.figures if figure.at_least is not None]
    text = (ROOT / "docs" / "performance.md").read_text()
    table = text.partition("## Goals")[2].partition("|---|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows


def test_statuses_in_the_documentation_are_those_of_the_command() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    for status in STATUSES:
        assert f"\n| {status} | " in text


def test_options_have_defaults_and_quick_ones() -> None:
    usual, quick = options_of([]), options_of(["--quick", "--seconds", "0.5"])
    assert (usual.rounds, usual.seconds, usual.idle_seconds) == (ROUNDS, SECONDS, IDLE_SECONDS)
    assert (quick.rounds, quick.seconds, quick.idle_seconds) == (QUICK[0], 0.5, QUICK[2])
    assert options_of(["--only", "ping", "http-get"]).only == ["ping", "http-get"]


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--seconds", "nan"], ["--only", "nothing"], ["--json", "/no/such/place/file"]]
)
def test_options_that_are_wrong_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options_of(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


# Contacts and loads


def test_ids_for_a_node_all_fit_into_its_table() -> None:
    dice = random.Random(1)
    for _ in range(20):
        own, first = dice.randbytes(20), dice.randbytes(20)
        ids = contacts.ids_for(own, first, 200, dice)
        listing = RoutingTable(own)
        for n, node_id in enumerate(ids):
            listing.heard(node_id, ("127.0.0.1", 20_001 + n), 0.0)
        assert ids[0] == first
        assert len(listing) == 200


def test_id_sharing_shares_exactly_so_many_bits() -> None:
    dice = random.Random(1)
    own = dice.randbytes(20)
    for bits in (0, 1, 12, 100, 159):
        assert shared_bits(position(own), position(contacts.id_sharing(own, bits, dice))) == bits


def test_script_of_wrk_sends_what_the_node_link_sends() -> None:
    work = http.works("0" * 40)["http-announce"]
    assert json.loads(work.bodies[3]) == {"rid": "bench-3", "data": ["bench:announce:3", 10_003]}
    assert json.dumps(work.bodies[3]) in work.script
    assert 'wrk.format("POST", "/announce"' in work.script
    assert "%d" in work.script


def test_is_right_refuses_wrong_answers() -> None:
    assert http.is_right("lookup", 7, ["127.0.0.1:10007"])
    assert not http.is_right("lookup", 7, [])
    assert http.is_right("announce", 0, 2)
    assert not http.is_right("announce", 0, "All queries failed")
    assert http.is_right("get", 0, {"v": http.VALUE})
    assert not http.is_right("get", 0, None)


# The micro-benchmarks


def test_pieces_of_the_micro_benchmarks_all_run() -> None:
    for _, work in pieces():
        work()


def test_timed_calls_the_piece_repeatedly() -> None:
    calls = Counter[str]()
    timing = timed("piece", lambda: calls.update(["piece"]), 0.01)
    assert 0 < timing.best <= timing.median
    assert calls["piece"] > 1


def test_micro_table_has_a_line_for_each_timing() -> None:
    lines = micro_table([Timing("piece", 2.0, 1.0)]).splitlines()
    assert lines[1].split() == ["piece", "2.00", "1.00", "500,000"]
