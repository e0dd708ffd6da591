"""Tests how the gauntlet treats rows that a machine cannot measure, and groups of rows."""

from __future__ import annotations

import pytest

from gauntlet.__main__ import ROWS, Progress, chosen, measured
from gauntlet.row import Finding, Row, Run
from gauntlet.table import table


def never(run: Run) -> Finding:
    raise AssertionError("measured all the same")


ROW = Row("row", "what", "goal", never, reason_missing=lambda: "there is no root")


def test_row_that_cannot_be_measured_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    record = measured(ROW, False, Progress(1))
    assert (record.result, record.skipped, record.misses) == ("skip", "there is no root", ())
    printed = table([record], ())
    assert "skipped: there is no root" in printed
    assert "0 of 1 rows pass; skipped: row" in printed


def test_row_that_cannot_be_measured_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    record = measured(ROW, False, Progress(1))
    assert record.result == "FAIL"
    assert "there is no root" in record.misses[0]


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for row in ROWS] + list({row.group for row in ROWS} - {""})
    assert len(names) == len(set(names))


def test_group_names_all_its_rows() -> None:
    hosts = chosen(["hosts"], short=True)
    assert {row.group for row in hosts} == {"hosts"}
    assert hosts == [row for row in chosen(None, short=False) if row.group == "hosts"]
    assert chosen(["hosts-six", "three"], short=True) == [row for row in ROWS if row.name in ("three", "hosts-six")]


def test_short_run_leaves_the_hosts_out() -> None:
    assert not [row for row in chosen(None, short=True) if row.group == "hosts"]
