"""The metrics of running grapes: as Prometheus' own tools and a dashboard read them, and against a packet tap."""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as text_format

from gauntlet.client import Client
from tests.live.conftest import StartGrape, StartRing, unavailable
from tests.live.processes import HOST, Api, GrapeProcess, new_api, until
from tests.live.tap import Tap

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus"
DASHBOARD = CONTRIB / "grafana" / "grape.json"
CALLS = 10_000
# More than the 2 s after which a query has timed out.
SETTLED_SECONDS = 2.5
# What another kind of member sends: the method, the arguments, and what is answered.
STRANGE = (
    (b"vote", b"d2:id20:aaaaaaaaaaaaaaaaaaaae", "e"),
    (b"get_peers", b"d2:id20:aaaaaaaaaaaaaaaaaaaae", "e"),
    (b"announce_peer", b"d2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hash1:k4:porti1e5:token1:xe", "e"),
    (b"get_peers", b"d2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hash1:ke", "r"),
    (b"find_node", b"d2:id20:aaaaaaaaaaaaaaaaaaaa6:target20:bbbbbbbbbbbbbbbbbbbbe", "r"),
    (b"ping", b"d2:id20:aaaaaaaaaaaaaaaaaaaae", "r"),
)
# Calls that are answered with an error; and what is asked by GET, with its route.
WRONG = (("/nothing", "1"), ("/lookup", "[}"), ("/announce", '[["a"],"x"]'), ("/put", "{}"), ("/unannounce", "1"))
READ = (
    ("/livez", "/livez"),
    ("/readyz?verbose", "/readyz"),
    ("/status", "/status"),
    ("/nodes?limit=x", "/nodes"),
    ("/services", "/services"),
    ("/sd?name=service:1", "/sd"),
    ("/trace/lookup?name=service:1", "/trace/lookup"),
    ("/trace/get?hash=" + "00" * 20, "/trace/get"),
    ("/openapi.json", "/openapi.json"),
    ("/x", "other"),
)
METHODS = ("ping", "find_node", "get_peers", "announce_peer", "unannounce_peer", "get", "put")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(api: Api) -> str:
    """Returns the text of a scrape."""
    connection = HTTPConnection(HOST, api.api_port, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    text = answer.read().decode()
    connection.close()
    return text


def samples(text: str) -> Samples:
    """Returns the values of a scrape by name and labels."""
    return {(s.name, frozenset(s.labels.items())): s.value for family in text_format(text) for s in family.samples}


def by_labels(found: Samples, name: str, *labels: str) -> dict[tuple[str, ...], int]:
    """Returns the values of one metric that are not 0, by the values of labels."""
    return {
        tuple(dict(given)[label] for label in labels): int(value)
        for (metric, given), value in found.items()
        if metric == name and value
    }


@pytest.fixture
def busy(grape_ring: StartRing) -> GrapeProcess:
    """One of two grapes, with a state file, that have done something of everything."""
    first, second = grape_ring(2)
    for number in range(20):
        first.call("announce", [f"service:{number}", 1_000 + number])
        second.call("lookup", f"service:{number}")
    stored = second.call("put", "words")
    assert first.call("get", stored)["v"] == "words"
    until("a commit", lambda: ("grape_state_commit_age_seconds", frozenset()) in samples(scraped(first.api)))
    return first


def promtool(*words: str, text: str = "") -> str:
    """Runs promtool, and returns what it prints. Skips the test where there is none."""
    program = shutil.which("promtool")
    if program is None:
        unavailable("promtool is missing; Debian: apt install prometheus")
    ran = subprocess.run([program, *words], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


# What Prometheus reads


def test_promtool_accepts_a_scrape_without_a_remark(busy: GrapeProcess) -> None:
    assert promtool("check", "metrics", text=scraped(busy.api)) == ""


def test_promtool_accepts_the_rules_and_the_example() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES / "grape.rules.yml"))
    assert "SUCCESS" in promtool("check", "config", str(RULES / "prometheus.yml"))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    tests = RULES / "grape.rules.test.yml"
    assert "SUCCESS" in promtool("test", "rules", str(tests))
    alerts = re.findall(r"- alert: (\w+)", (RULES / "grape.rules.yml").read_text())
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:", tests.read_text())
    assert sorted(alerts) == sorted(fired)


def expressions(value: object) -> Iterable[str]:
    """Yields every query of a dashboard, wherever it stands."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in ("expr", "definition") and isinstance(member, str):
                yield member
            else:
                yield from expressions(member)
    elif isinstance(value, list):
        for member in value:
            yield from expressions(member)


def names_in(expression: str) -> set[tuple[str, frozenset[str]]]:
    """Returns the metrics that a query names, each with the labels that it selects by."""
    return {
        (name, frozenset(re.findall(r"(\w+)\s*[=!]~?", selectors)))
        for name, selectors in re.findall(r"\b((?:grape|process|python)_\w+|up)\b(?:\{([^}]*)\})?", expression)
    }


def labels_grouped_by(expression: str) -> set[str]:
    """Returns the labels that a query sums by."""
    groups = re.findall(r"\bby \(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")}


# What Prometheus adds to each scrape.
ADDED = {"job", "instance"}


def assert_is_scraped(queries: Iterable[str], found: Samples) -> None:
    """Fails unless each metric and label of the queries is in a scrape."""
    labels: dict[str, set[str]] = {"up": set()}
    for name, given in found:
        labels.setdefault(name, set()).update(dict(given))
    for query in queries:
        named = names_in(query)
        assert named, query
        known = set().union(*(labels.get(name, set()) for name, _ in named)) | ADDED
        for name, selected in named:
            assert name in labels, f"{name} is not in a scrape: {query}"
            assert selected <= labels[name] | ADDED, query
        assert labels_grouped_by(query) <= known, query


def test_every_query_of_the_dashboard_is_answered_by_a_scrape(busy: GrapeProcess, tmp_path: Path) -> None:
    board = json.loads(DASHBOARD.read_text())
    queries = list(expressions(board))
    found = samples(scraped(busy.api))
    assert_is_scraped(queries, found)
    legends = re.findall(r"\{\{(\w+)\}\}", json.dumps([panel.get("targets") for panel in board["panels"]]))
    assert set(legends) <= {label for _, labels in found for label in dict(labels)} | ADDED
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    # As rules the queries are checked by Prometheus' own parser.
    filled = [query.replace("$__rate_interval", "5m") for query in queries if not query.startswith("label_values")]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_every_alert_is_made_of_what_a_scrape_has(busy: GrapeProcess) -> None:
    text = (RULES / "grape.rules.yml").read_text()
    queries = re.findall(r"expr: (?:>-\n)?(.*?)\n +(?:for|labels):", text, re.DOTALL)
    assert len(queries) == text.count("- alert:")
    assert_is_scraped(queries, samples(scraped(busy.api)))


# Counters against what was on the wire


def test_counters_equal_a_packet_tap_after_ten_thousand_calls(grape_process: StartGrape) -> None:
    apis = [new_api() for _ in range(3)]
    ports = [api.dht_port for api in apis]
    try:
        tap = Tap(ports)
    except PermissionError:
        unavailable("a packet socket needs root or CAP_NET_RAW")
    dice = random.Random(13)
    with tap:
        # Each joins those before it: the tap counts what comes to a port as received though nobody listens there yet.
        before = [",".join(api.node for api in apis[:index]) for index in range(len(apis))]
        flags = [["--bn", nodes] if nodes else ["--no-bn"] for nodes in before]
        grapes = [grape_process(*some, api=api) for some, api in zip(flags, apis, strict=True)]
        answered = call_at_random(apis, dice, CALLS * 4 // 5)
        ask_strangely(ports)
        # From here on queries to the third are not answered.
        grapes[2].process.close()
        answered.update(call_at_random(apis[:2], dice, CALLS // 5))
        found = settled(tap, apis[:2])
        assert tap.lost == 0
        for api in apis[:2]:
            assert_equal(found[api.api_port], tap, api.dht_port)
    for api in apis[:2]:
        told = by_labels(found[api.api_port], "grape_http_requests_total", "route", "code")
        # The other requests are those of this test: scrapes, and the one that the start was waited for with.
        told = {(route, code): number for (route, code), number in told.items() if route != "/metrics"}
        told["other", "200"] -= 1
        assert told == {(route, code): number for (at, route, code), number in answered.items() if at == api.api_port}


def call_at_random(apis: list[Api], dice: random.Random, number: int) -> Counter[tuple[int, str, str]]:
    """Makes calls and other requests of all kinds. Returns how many were answered, by port, route and status."""
    answered: Counter[tuple[int, str, str]] = Counter()
    clients = {api.api_port: Client(api.api_port) for api in apis}
    names = [f"service:{index}" for index in range(200)]
    hashes = ["00" * 20]
    for index in range(number):
        port = dice.choice(apis).api_port
        kind = dice.random()
        if kind < 0.6:
            path, data = "/lookup", json.dumps(dice.choice(names))
        elif kind < 0.75:
            path, data = "/announce", json.dumps([dice.choice(names), dice.randrange(1, 5)])
        elif kind < 0.8:
            path, data = "/unannounce", json.dumps([dice.choice(names), dice.randrange(1, 5)])
        elif kind < 0.85:
            path, data = "/put", json.dumps(f"words {index}")
        elif kind < 0.95:
            path, data = "/get", json.dumps(dice.choice(hashes))
        else:
            path, data = dice.choice(WRONG)
        reply = clients[port].post(path, b'{"data":%b}' % data.encode())
        answered[port, path if path != "/nothing" else "other", str(reply.status)] += 1
        if path == "/put" and reply.status == 200 and len(reply.body) == 42:
            hashes.append(json.loads(reply.body))
    for api in apis:
        for path, route in READ:
            connection = HTTPConnection(HOST, api.api_port, timeout=10)
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            answered[api.api_port, route, str(response.status)] += 1
            connection.close()
    for client in clients.values():
        client.close()
    return answered


def ask_strangely(ports: list[int]) -> None:
    """Sends queries that are refused, queries that are answered, and bytes that are no query, to each port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        for port in ports:
            for number, (method, arguments, kind) in enumerate(STRANGE):
                query = b"d1:a%b1:q%d:%b1:t2:%02d1:y1:qe" % (arguments, len(method), method, number)
                asker.sendto(query, (HOST, port))
                while b"1:t2:%02d" % number not in (answer := asker.recv(2_048)):
                    pass
                assert answer.endswith(b"1:y1:%be" % kind.encode())
            asker.sendto(b"nothing", (HOST, port))


def settled(tap: Tap, apis: list[Api]) -> dict[int, Samples]:
    """Waits until no query is in flight and nothing is sent while all are scraped. Returns the scrapes by port."""

    def quiet() -> dict[int, Samples]:
        before, began = sum(tap.datagrams.values()), time.monotonic()
        if began - tap.latest < 0.2:
            return {}
        found = {api.api_port: samples(scraped(api)) for api in apis}
        time.sleep(0.2)
        in_flight = sum(scrape["grape_queries_in_flight", frozenset()] for scrape in found.values())
        return found if not in_flight and sum(tap.datagrams.values()) == before else {}

    time.sleep(SETTLED_SECONDS)
    return until("a pause", quiet, 60)


def assert_equal(found: Samples, tap: Tap, port: int) -> None:
    """Compares the counters of a grape with what the tap has seen at its UDP port."""
    seen = tap.of(port)
    names = {method if method in METHODS else "other" for method, _ in seen}

    def wire(what: str) -> dict[tuple[str, ...], int]:
        total: Counter[tuple[str, ...]] = Counter()
        for (method, happened), number in seen.items():
            if happened == what:
                total[(method if method in METHODS else "other"),] += number
        return dict(total)

    received = by_labels(found, "grape_queries_in_total", "method", "outcome")
    for outcome in ("answered", "refused"):
        assert {(name,): n for (name, how), n in received.items() if how == outcome} == wire(outcome)
    assert {
        (name,): sum(n for (other, _), n in received.items() if other == name) for name in {n for n, _ in received}
    } == wire("received")
    assert by_labels(found, "grape_queries_out_total", "method") == wire("sent")
    ended = by_labels(found, "grape_query_outcomes_total", "method", "outcome")
    for outcomes, what in ((("answered", "invalid"), "got_answer"), (("error",), "got_error")):
        # Among its bootstrap nodes is the grape itself, whose answer is of no use.
        counted: Counter[tuple[str, ...]] = Counter()
        for (name, outcome), number in ended.items():
            counted[(name,)] += number if outcome in outcomes else 0
        assert dict(+counted) == wire(what)
    for name in names:
        sent = wire("sent").get((name,), 0)
        lost = sent - wire("got_answer").get((name,), 0) - wire("got_error").get((name,), 0)
        assert ended.get((name, "timed_out"), 0) == lost
    for metric, way in (("grape_datagrams_in_total", "in"), ("grape_datagrams_out_total", "out")):
        assert found[metric, frozenset()] == tap.datagrams[port, way]
    assert found["grape_malformed_datagrams_total", frozenset()] == 1
