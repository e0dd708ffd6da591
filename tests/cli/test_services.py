"""grape.cli.services: what lookup, announce, unannounce and services print, and how they end."""

from __future__ import annotations

import json

from tests.cli.conftest import PEER, OneGrape, Run

NAME = "rest:util:net"
STEERING = "a\x1b[31m\n\x9b\u202eb"
ESCAPED = r"a\x1b[31m\n\x9b\u202eb"


def test_lookup_prints_each_peer_on_a_line(run: Run, fake: OneGrape) -> None:
    fake.scripts["/lookup"] = lambda name: [PEER, "10.0.0.4:1"]
    assert sorted(run("lookup", NAME).out.splitlines()) == [PEER, "10.0.0.4:1"]
    assert fake.asked("/lookup") == [NAME]
    assert run("lookup", NAME, "--first").out.strip() in {PEER, "10.0.0.4:1"}
    assert len(json.loads(run("lookup", NAME, "--first", "--json").out)) == 1


def test_lookup_of_a_service_without_peers_ends_with_1(run: Run) -> None:
    ran = run("lookup", "none")
    assert (ran.status, ran.out, ran.err) == (1, "", "grape: no peer of none is known\n")
    ran = run("lookup", "none", "--json")
    assert (ran.status, json.loads(ran.out), ran.err) == (1, [], "")


def test_lookup_traced_is_a_table_the_peers_and_a_sentence(run: Run) -> None:
    ran = run("lookup", NAME, "--trace")
    lines = ran.out.splitlines()
    assert " ".join(lines[0].split()) == "# NODE NAMED BY DISTANCE ASKED AT ANSWERED AFTER STATE GAVE"
    assert " ".join(lines[1].split()) == "1 10.0.0.2:20001 routing table 158 0.1 ms 0.8 ms answered 1 peer, 3 nodes"
    assert lines[2:] == ["", PEER, "", "1 node asked, 1 answered; it took 1.2 ms."]
    assert (ran.status, ran.err) == (0, "")


def test_lookup_traced_by_a_node_grape_shows_the_result_to_people_only(run: Run, fake: OneGrape) -> None:
    fake.become_a_node_grape()
    ran = run("lookup", NAME, "--trace")
    assert (ran.status, ran.out) == (0, f"{PEER}\n")
    assert ran.err.startswith("grape: this grape cannot tell how a lookup went")
    ran = run("lookup", NAME, "--trace", "--json")
    assert (ran.status, ran.out) == (3, "")


def test_announce_says_how_many_nodes_have_it(run: Run, fake: OneGrape) -> None:
    assert run("announce", NAME, "1337").out == "announced: 1 node has it\n"
    fake.scripts["/announce"] = lambda data: 3
    assert run("announce", NAME, "0", "--ttl", "30").out == "announced: 3 nodes have it\n"
    assert fake.asked("/announce") == [[NAME, 1337], [NAME, 0, {"ttl": 30}]]
    assert json.loads(run("announce", NAME, "1", "--json").out) == {"name": NAME, "port": 1, "nodes": 3}


def test_unannounce_withdraws(run: Run, fake: OneGrape) -> None:
    assert run("unannounce", NAME, "1337").out == "withdrawn: 1 other node confirmed it\n"
    assert fake.asked("/unannounce") == [[NAME, 1337]]
    assert json.loads(run("unannounce", NAME, "1337", "--json").out) == {"name": NAME, "port": 1337, "nodes": 1}


def test_services_are_a_table_and_those_of_a_name_their_peers(run: Run, fake: OneGrape) -> None:
    lines = run("services").out.splitlines()
    assert [line.split()[:2] for line in lines] == [["NAME", "PEERS"], [NAME, "1"]]
    lines = run("services", NAME).out.splitlines()
    assert [line.split()[0] for line in lines] == ["PEER", "10.0.0.2:1337"]
    assert [path for path, _ in fake.requests] == [
        "/services?limit=1000",
        "/services?limit=1000&name=rest%3Autil%3Anet",
    ]


def test_services_that_are_not_shown_are_counted(run: Run, fake: OneGrape) -> None:
    peers = [{"address": PEER, "age": 1}]
    entry = {"name": "a", "key": "61", "peer_count": 2, "peers": peers}
    fake.scripts["/services"] = lambda data: {"services": [entry], "next": "61", "total": 7}
    assert run("services", "--limit", "1").err == "grape: 1 of 7 services; --limit shows more\n"
    assert run("services", "a", "--limit", "1").err == "grape: the last 1 of 2 peers\n"


def test_services_that_are_none_end_with_1(run: Run, fake: OneGrape) -> None:
    fake.scripts["/services"] = lambda data: {"services": [], "next": None, "total": 0}
    assert run("services").status == 1
    assert run("services", "--json").out == "[]\n"


def test_text_from_the_network_cannot_steer_a_terminal(run: Run, fake: OneGrape) -> None:
    fake.scripts["/lookup"] = lambda name: [STEERING] if name == NAME else []
    entry = {"name": STEERING, "key": "", "peer_count": 1, "peers": [{"address": STEERING, "age": 1}]}
    fake.scripts["/services"] = lambda data: {"services": [entry], "next": None, "total": 1}
    for words in (["lookup", NAME], ["services"], ["services", "a"]):
        assert ESCAPED in run(*words).out
    assert run("lookup", STEERING).err == f"grape: no peer of {ESCAPED} is known\n"
    fake.scripts["/lookup"] = (200, json.dumps(STEERING).encode())
    assert run("lookup", NAME).err == f"grape: {ESCAPED}\n"
    assert "\x1b" not in run("announce", "a", STEERING).err
