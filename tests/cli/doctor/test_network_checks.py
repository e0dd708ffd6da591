"""grape.cli.doctor.network_checks: what nodes answered over UDP is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from grape.cli.doctor.facts import REFUSED, SILENT, UNSENT, Api, Contact, Entry, Facts, Kept, Probe, Suspect
from grape.cli.doctor.findings import Finding
from grape.cli.doctor.network_checks import (
    check_age,
    check_bind,
    check_bootstrap,
    check_contacts,
    check_identity,
    check_mtu,
    check_port,
)
from tests.cli.doctor.examined import (
    ID,
    NOBODY,
    OTHER_URL,
    OWN,
    SECOND,
    THIRD,
    TOLD,
    URL,
    answers,
    lists,
    shown,
    silent,
    well,
)


def only(check: Callable[[Facts], Iterator[Finding]], **changes: Any) -> Finding:
    """Returns the one finding of a check about a grape that is well but for the changes."""
    (finding,) = check(well(**changes))
    return finding


# The grape's own socket


def test_socket_bound_to_loopback_is_found_where_bootstrap_nodes_are_elsewhere() -> None:
    finding = only(check_bind, told_dht_address="127.0.0.1:20001")
    assert (finding.state, f"({OWN}, {SECOND}) are elsewhere" in finding.found) == ("failed", True)
    assert "--dht-bind" in finding.advice


def test_socket_bound_to_loopback_is_well_for_a_ring_of_one_host() -> None:
    here = (Entry("127.0.0.1:20002", probes=(answers("127.0.0.1:20002"),)),)
    assert only(check_bind, told_dht_address="127.0.0.1:20001", bootstrap=here).state == "ok"
    assert only(check_bind, told_dht_address="127.0.0.1:20001", bootstrap=here, is_local=False).state == "failed"


def test_port_that_does_not_answer_is_found() -> None:
    finding = only(check_port, own=(silent(OWN),), is_local=False)
    assert finding.found == f"no answer at {OWN}, though its HTTP API answers"
    assert finding.state == "failed"
    assert finding.advice.startswith("Open UDP port 20001 in the firewall")


def test_grape_that_does_not_run_is_found_by_both_ports() -> None:
    finding = only(check_port, own=(silent(OWN, REFUSED),), grape=Api(URL, "connection refused"))
    assert finding.found == f"no process listens at {OWN} either"
    assert finding.advice.startswith("Start the grape")


def test_port_at_which_another_node_answers_is_found() -> None:
    assert only(check_port, own=(answers(OWN),)).state == "failed"


def test_advertised_address_at_which_nothing_answers_is_a_warning() -> None:
    finding = only(check_port, own=(answers(OWN, ID), silent(NOBODY)), is_local=False)
    assert (finding.state, finding.advice.startswith("Correct --advertise.")) == ("warning", True)


def test_read_only_grape_need_not_answer_nor_be_listed() -> None:
    assert only(check_port, told_is_read_only=True, own=(silent(OWN),)).state == "skipped"
    assert only(check_contacts, told_is_read_only=True, contacts=(lists(SECOND),)).state == "skipped"


# Bootstrap nodes


def bootstrap(*probes: Probe, **facts: Any) -> list[str]:
    """Returns the findings about one entry beside one that answers."""
    entries = (Entry("ring.example:7", probes=probes, **facts), Entry(SECOND, probes=(answers(SECOND),)))
    return shown(check_bootstrap(well(bootstrap=entries)))


def test_dead_bootstrap_node_is_a_warning_while_another_answers() -> None:
    dead, alive = bootstrap(silent(NOBODY))
    assert dead.startswith(f"warning: ring.example:7: {NOBODY} does not answer | See whether the host")
    assert alive == f"ok: {SECOND} answers"


def test_dead_bootstrap_nodes_are_a_failure_together() -> None:
    entries = (Entry(SECOND, probes=(silent(SECOND),)), Entry(OWN, probes=(answers(OWN, ID),)))
    first, second = shown(check_bootstrap(well(bootstrap=entries)))
    assert first.startswith(f"failed: {SECOND} does not answer")
    assert second == f"ok: {OWN} is this grape itself"


def test_port_of_an_http_api_is_found_with_the_one_that_is_meant() -> None:
    finding, _ = bootstrap(silent("10.0.0.9:30001", REFUSED, by_tcp="HTTP", instead=NOBODY))
    assert "HTTP does: it is the port of an HTTP API" in finding
    assert finding.endswith(f"At {NOBODY} a node answers.")


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (REFUSED, "no process listens at this UDP port"),
        (UNSENT, "cannot be reached: Network is unreachable"),
        (SILENT, "does not answer"),
    ],
)
def test_reason_of_a_bootstrap_node_is_told(outcome: str, found: str) -> None:
    finding, _ = bootstrap(silent(NOBODY, outcome, problem="Network is unreachable"))
    assert found in finding


def test_name_that_does_not_resolve_is_found() -> None:
    finding, _ = bootstrap(problem="ring.example cannot be resolved")
    assert finding.startswith("warning: ring.example:7: ring.example cannot be resolved | Correct the name in --bn")


def test_each_address_of_a_name_is_judged() -> None:
    findings = bootstrap(silent(NOBODY), answers(THIRD))
    assert [finding.split(":")[0] for finding in findings] == ["warning", "ok", "ok"]


def test_bootstrap_node_with_the_id_of_the_grape_is_not_taken_for_it() -> None:
    entries = (Entry(THIRD, probes=(answers(THIRD, ID),)),)
    facts = well(bootstrap=entries, suspects=(Suspect(THIRD, False),))
    assert shown(check_bootstrap(facts)) == [f"ok: {THIRD} answers, with the id of this grape"]


def test_own_entry_that_does_not_answer_is_left_to_the_check_of_the_port() -> None:
    entries = (Entry(OWN, probes=(silent(OWN),)),)
    facts = well(bootstrap=entries, own=(silent(OWN),), is_local=False)
    assert shown(check_bootstrap(facts)) == [f"ok: {OWN} is this grape itself (see UDP port)"]


def test_no_bootstrap_node_is_well() -> None:
    assert only(check_bootstrap, bootstrap=(), told_bootstrap=()).state == "ok"


# Contacts


def test_contacts_that_do_not_list_the_grape_are_a_failure() -> None:
    finding = only(check_contacts, contacts=(lists(SECOND), lists(THIRD)))
    assert finding.found == "0 of 2 contacts that answered list this grape"
    assert finding.advice.startswith("They cannot reach its UDP port unasked. Open UDP port 20001")


def test_few_contacts_that_list_the_grape_are_a_warning_in_a_small_ring() -> None:
    contacts = (lists(SECOND, OWN), lists(THIRD), lists(NOBODY))
    assert only(check_contacts, contacts=contacts, contact_count=3).state == "warning"
    assert only(check_contacts, contacts=contacts, contact_count=100).state == "ok"


def test_grape_that_has_just_started_need_not_be_listed_yet() -> None:
    assert only(check_contacts, contacts=(lists(SECOND),), told_uptime=2.0).state == "warning"


def test_contacts_that_do_not_answer_are_found() -> None:
    gone = Contact(SECOND, SILENT), Contact(THIRD, SILENT)
    assert only(check_contacts, contacts=gone).state == "failed"
    assert only(check_contacts, contacts=gone, is_local=False).state == "warning"
    assert only(check_contacts, contacts=(*gone, lists(NOBODY, OWN))).state == "warning"


def test_contacts_that_cannot_be_asked_are_skipped() -> None:
    assert [only(check_contacts, contacts=(), contact_count=count, is_local=False).state for count in (None, 0, 2)] == [
        "skipped"
    ] * 3


# Ids, sizes, ages


def test_other_node_with_the_id_is_found() -> None:
    finding = only(check_identity, suspects=(Suspect(OWN, True), Suspect(THIRD, False)))
    assert finding.found == f"another node, at {THIRD}, has the id of this grape"
    assert (finding.state, "grape state new-id FILE" in finding.advice) == ("failed", True)


def test_node_that_may_be_the_grape_itself_is_a_warning() -> None:
    assert only(check_identity, suspects=(Suspect(THIRD, None),)).state == "warning"
    assert only(check_identity, suspects=(Suspect(THIRD, True),)).state == "ok"


def test_lost_large_datagrams_are_found() -> None:
    lost = lists(SECOND, OWN, large=False)
    assert only(check_mtu, contacts=(lost,)).state == "failed"
    assert only(check_mtu, contacts=(lost, lists(THIRD, OWN))).state == "warning"
    assert only(check_mtu, contacts=(Contact(SECOND, SILENT),)).state == "skipped"


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (Kept(False, False, 119.4), f"{SECOND} for about 119 s"),
        (Kept(False, False), f"{SECOND} for less"),
        (Kept(True, True), f"{SECOND} longer"),
    ],
)
def test_another_age_is_found_on_the_wire(kept: Kept, found: str) -> None:
    finding = only(check_age, contacts=(lists(SECOND, OWN, kept=kept), lists(THIRD, OWN)))
    assert finding.found == f"this grape lists a peer for 240 s, {found}"
    assert (finding.state, "--dht_peer_maxAge" in finding.advice) == ("warning", True)


def test_another_age_is_found_in_the_status_of_other_grapes() -> None:
    other = Api(OTHER_URL, told=attrs.evolve(TOLD, peer_max_age=0.0))
    assert only(check_age, others=(other,)).found == f"this grape lists a peer for 240 s, {OTHER_URL} for ever"


def test_contacts_of_other_software_are_not_asked_for_their_age() -> None:
    node = attrs.evolve(lists(SECOND, OWN, kept=None), is_ours=False)
    finding = only(check_age, contacts=(node, lists(THIRD, OWN)), others=())
    assert finding.found.endswith("and so does 1 contact (1 contact of other software cannot be asked)")
    assert only(check_age, contacts=(node,), others=()).state == "skipped"
