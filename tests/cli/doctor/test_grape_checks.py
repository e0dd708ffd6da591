"""grape.cli.doctor.grape_checks: what a grape tells of itself is judged."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest

from grape.cli.doctor.checks import findings_of
from grape.cli.doctor.facts import Api, Entry, Facts
from grape.cli.doctor.findings import Finding
from grape.cli.doctor.grape_checks import (
    LIMITS,
    check_api,
    check_clock,
    check_descriptors,
    check_limits,
    check_readiness,
    check_state,
)
from grape.node.status import LIMIT_COUNTERS
from tests.cli.doctor.examined import OTHER_URL, SECOND, URL, WELL, answers, shown, silent, well


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_grape_that_is_well_has_no_finding_but_ok() -> None:
    assert [finding for finding in findings_of(WELL) if finding.state != "ok" or finding.advice] == []


def test_finding_that_is_not_ok_says_what_to_do_in_a_sentence() -> None:
    unreachable = Facts(Api(URL, "connection refused"), own=(silent("10.0.0.1:20001"),))
    for finding in findings_of(unreachable):
        assert finding.state in ("failed", "skipped")
        assert finding.advice.endswith(".") == (finding.state == "failed")


# HTTP


def test_grape_that_does_not_answer_is_found() -> None:
    first, second = check_api(well(grape=Api(URL, "connection refused")))
    assert (first.state, second.state) == ("failed", "ok")
    assert "http://10.0.0.1:30001: connection refused" in first.found
    first, second = check_api(well(others=(Api(OTHER_URL, "timed out"),)))
    assert (first.state, second.state) == ("ok", "warning")


def test_refused_host_is_found_with_the_flag_that_allows_it() -> None:
    finding = only(check_api(well(others=(), grape=Api(URL, "ERR_GRAPE_HOST: ...", is_refused=True))))
    assert (finding.state, "--allow-host" in finding.advice) == ("failed", True)


def test_node_grape_answers_without_a_status() -> None:
    finding = only(check_api(well(others=(), grape=Api(URL, "it is a Node grape", is_without_status=True))))
    assert shown([finding]) == [f"ok: {URL} answers; it is a Node grape"]


# Readiness


def test_isolated_grape_is_found() -> None:
    dead = (Entry(SECOND, probes=(silent(SECOND),)),) * 2
    finding = only(check_readiness(well(told_problems={"isolated": "none of 2 contacts answers"}, bootstrap=dead)))
    assert shown([finding]) == [
        "failed: it is isolated: none of 2 contacts answers | None of its bootstrap nodes answers: see there."
    ]


def test_survivor_of_two_is_told_of_the_flag_for_rings_of_two() -> None:
    dead = (Entry(SECOND, probes=(silent(SECOND),)),)
    finding = only(check_readiness(well(told_problems={"isolated": "..."}, bootstrap=dead)))
    assert "start both with --ready-isolated" in finding.advice


def test_isolated_grape_whose_bootstrap_nodes_answer_is_behind_a_firewall() -> None:
    facts = well(told_problems={"isolated": "there are no contacts"}, told_dht_address="10.0.0.1:7")
    finding = only(check_readiness(facts))
    assert (finding.state, "open UDP port 7" in finding.advice) == ("failed", True)


@pytest.mark.parametrize(("problem", "state"), [("stopping", "failed"), ("joining", "warning")])
def test_grape_that_stops_or_joins_is_found(problem: str, state: str) -> None:
    assert only(check_readiness(well(told_problems={problem: "..."}))).state == state


def test_grape_may_be_alone() -> None:
    assert shown(check_readiness(well(told_contacts=0))) == ["ok: it is alone, and was given no other node to join"]


def test_grape_without_a_status_is_judged_by_the_nodes_that_it_lists() -> None:
    node = Api(URL, "...", is_without_status=True)
    states = [only(check_readiness(well(grape=node, contact_count=count))).state for count in (2, 0, None)]
    assert states == ["ok", "failed", "skipped"]


# State file, descriptors, limits


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("database or disk is full", "Free space"),
        ("attempt to write a readonly database", "Let the user of the grape write"),
        ("unable to open database file", "Let the user of the grape write"),
        ("disk I/O error", "See the log"),
    ],
)
def test_state_that_is_not_written_is_found_with_its_cure(problem: str, advice: str) -> None:
    finding = only(check_state(well(told_state_problem=problem)))
    assert finding.state == "failed"
    assert finding.advice.startswith(advice)
    # One that gave its default file up names the reason in its readiness alone.
    assert only(check_state(well(told_state_file=None, told_problems={"degraded": problem}))).state == "failed"


def test_disk_that_is_nearly_full_is_a_warning() -> None:
    assert only(check_state(well(free_bytes=10**6))).state == "warning"
    assert only(check_state(well(free_bytes=None))).state == "ok"
    assert shown(check_state(well(told_state_file=None))) == ["ok: no state is kept"]


@pytest.mark.parametrize(
    ("used", "limit", "state"),
    [(20, 1_024, "ok"), (20, None, "ok"), (None, 1_024, "ok"), (20, 256, "warning"), (820, 1_024, "warning"),
     (1_000, 1_024, "failed"), (None, None, "skipped")],
)  # fmt: skip
def test_descriptors_are_judged(used: int | None, limit: int | None, state: str) -> None:
    finding = only(check_descriptors(well(told_descriptors_open=used, told_descriptors_limit=limit)))
    assert (finding.state, "LimitNOFILE=" in finding.advice) == (state, state in ("warning", "failed"))


def test_every_limit_that_is_hit_has_a_cure() -> None:
    assert set(LIMITS) == set(LIMIT_COUNTERS)
    for counter in LIMIT_COUNTERS:
        finding = only(check_limits(well(told_limits_hit={counter: 3})))
        assert finding.state == "warning"
        assert f"({counter}: 3 since the start)" in finding.found
        assert finding.advice.endswith(".")


def test_connections_close_to_their_limit_are_found() -> None:
    finding = only(check_limits(well(told_connections_open=500)))
    assert (finding.state, "--max-connections" in finding.advice) == ("warning", True)


def test_older_grape_that_does_not_tell_limits_is_skipped() -> None:
    assert shown(check_limits(well(told_limits_hit=None))) == ["skipped: this version does not tell it"]


# Clock


def clocked(own: float | None, *others: float | None, is_local: bool = True, error: float = 0.0) -> Finding:
    apis = tuple(Api(OTHER_URL, clock_ahead=ahead, clock_error=error) for ahead in others)
    return only(check_clock(well(grape=attrs.evolve(WELL.grape, clock_ahead=own), others=apis, is_local=is_local)))


def test_clock_is_compared_with_other_grapes() -> None:
    assert clocked(0.0, 1.5).state == "ok"
    assert clocked(0.0, -30.0).found == f"it is 30 s ahead of that of {OTHER_URL}"
    assert clocked(0.0, 30.0, 0.0).found == f"it is 30 s behind that of {OTHER_URL}"
    assert clocked(0.0, 30.0).state == "warning"
    # A date has whole seconds.
    assert clocked(0.0, 2.9, error=1.0).state == "ok"


def test_clock_is_compared_with_this_machine_only_if_that_is_another() -> None:
    assert clocked(60.0).state == "skipped"
    assert clocked(60.0, None).state == "skipped"
    assert clocked(60.0, is_local=False).found == "it is 60 s ahead of this machine's"
    assert clocked(None, 0.0).state == "skipped"


def test_bootstrap_nodes_that_are_itself_are_no_sign_of_a_firewall() -> None:
    itself = (Entry("grape:20001", probes=(answers("10.0.0.1:20001", "aa" * 20),)),)
    finding = only(check_readiness(well(told_problems={"isolated": "..."}, bootstrap=itself)))
    assert finding.advice.startswith("None of its bootstrap nodes answers: see there.")
