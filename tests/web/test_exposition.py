"""grape.web.exposition and grape.node.families: the metrics of a grape."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format
from twisted.web.resource import Resource

from grape import Grape, __version__
from grape.config import Config
from grape.dht.counts import METHODS, OTHER
from grape.metrics import Counters, help_texts
from grape.node.families import FAMILIES, table
from grape.store import MemoryItems, MemoryPeers
from grape.testing import MemoryNetwork, make_grapes
from grape.web.answer import Answer
from grape.web.exposition import Exposition
from grape.web.request import Request
from grape.web.site import GrapeSite
from tests.simulation import lone_grape
from tests.web.helpers import LOCAL, PEER, SiteClient, TCPReactor, request

ROOT = Path(__file__).parents[2]
OPEN = b"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(grape: Grape, accept: bytes = b"") -> tuple[str, str]:
    """Returns the content type and the text of a scrape."""
    headers = {b"accept": accept} if accept else {}
    answer = Exposition(grape.node.inspector).metrics(Request(b"GET", b"/metrics", headers, None))
    assert isinstance(answer, Answer)
    assert answer.status == 200
    return answer.content_type.decode(), answer.body.decode()


def samples(grape: Grape) -> Samples:
    """Returns the values of a scrape by name and labels."""
    families = text_format(scraped(grape)[1])
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(grape: Grape, name: str, **labels: str) -> float:
    """Returns one value of a scrape."""
    return samples(grape)[name, frozenset(labels.items())]


def total(grape: Grape, name: str, **labels: str) -> float:
    """Returns the sum of the values with these labels."""
    return sum(v for (n, found), v in samples(grape).items() if n == name and labels.items() <= set(found))


def test_scrape_is_text_unless_open_metrics_is_accepted(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    kind, text = scraped(grape)
    assert kind.startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_format(text)}
    kind, open_text = scraped(grape, OPEN)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert open_text.endswith("# EOF\n")
    # In the text format an info is a gauge.
    assert {family.name for family in open_metrics(open_text)} - {"grape_build"} == names - {"grape_build_info"}


ACCEPTED = (
    "application/openmetrics-text",
    "text/plain",
    "*/*",
    ";",
    ",",
    "=",
    "version",
    "escaping",
    "1.0.0",
    "x",
    "q",
)


@given(st.lists(st.sampled_from(ACCEPTED), max_size=12).map("".join) | st.text(st.characters(max_codepoint=255)))
@example("application/openmetrics-text; version=abc")
@example("text/plain;version=1.x.0;escaping=bogus")
def test_scrape_is_answered_whatever_is_accepted(accept: str) -> None:
    grape = lone_grape(MemoryNetwork())
    kind, text = scraped(grape, accept.encode("latin-1"))
    assert kind.startswith(("text/plain; version=", "application/openmetrics-text; version="))
    assert "grape_ready 1.0\n" in text


def test_scrape_has_every_declared_metric_once_with_its_labels_and_text(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.result(first.put("words"))
    families = {family.name: family for family in text_format(scraped(first)[1])}
    for declared in FAMILIES:
        family = families[declared.name.removesuffix("_total")]
        assert family.documentation == declared.help
        assert family.type == {"info": "gauge"}.get(declared.kind, declared.kind)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(declared.labels)
    network.result(second.stopService())


def test_metrics_are_named_as_prometheus_asks() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    for family in FAMILIES:
        assert re.fullmatch(r"grape_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")
        assert family.help[0] == family.help[0].upper()


def test_every_counter_is_a_metric_or_the_sum_of_one() -> None:
    texts = {family.help for family in FAMILIES}
    assert {name for name, text in help_texts().items() if text not in texts} == {
        "queries_in",
        "refused",
        "answered",
        "timed_out",
        "not_sent",
    }


def test_table_of_the_documentation_is_that_of_the_declarations() -> None:
    assert table() in (ROOT / "docs" / "operations.md").read_text()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"grape_\w+", (ROOT / "contrib" / "grafana" / "grape.json").read_text()))
    assert {f.name for f in FAMILIES if not {f.name, f"{f.name}_bucket"} & shown} == set()


def test_process_is_told_of_as_usual(network: MemoryNetwork) -> None:
    found = samples(lone_grape(network))
    names = {name for name, _ in found}
    assert names >= {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "python_info",
        "python_gc_collections_total",
    }
    assert found["process_resident_memory_bytes", frozenset()] > 1_000_000


def test_grapes_of_one_process_have_metrics_of_their_own(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.clock.advance(10)
    store = first.node._peer_store
    store.announce(b"a", ("10.0.9.9", 1), network.clock.seconds())
    assert (value(first, "grape_services"), value(second, "grape_services")) == (1, 0)
    assert value(first, "grape_build_info", version=__version__) == 1


def test_metrics_tell_the_state_of_a_grape(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.clock.advance(10)
    assert value(second, "grape_ready") == 1
    assert value(second, "grape_isolated") == 0
    assert value(second, "grape_contacts", state="good") == 1
    assert value(second, "grape_buckets") == 1
    network.kill("10.0.0.1")
    network.clock.advance(20)
    assert value(second, "grape_ready") == 0
    assert value(second, "grape_isolated") == 1
    assert total(second, "grape_query_outcomes_total", outcome="timed_out") > 0
    network.result(first.stopService())


def test_limits_are_those_of_the_settings_of_the_moment(network: MemoryNetwork) -> None:
    grape = lone_grape(network, max_keys=7)
    assert value(grape, "grape_services_limit") == 7
    grape.reconfigure(Config(max_keys=8, dht_bootstrap=()))
    assert value(grape, "grape_services_limit") == 8


def test_lookups_and_round_trips_are_in_the_histograms(network: MemoryNetwork) -> None:
    first, second, third = make_grapes(network, 3)
    network.clock.advance(10)
    before = value(second, "grape_round_trip_seconds_count")
    for number in range(40):
        network.result(second.lookup(f"service:{number}"))
    assert value(second, "grape_lookup_duration_seconds_count", kind="peers") == 40
    assert 0 < value(second, "grape_lookup_duration_seconds_sum", kind="peers") < 40
    assert second.node.inspector.lookup_times()["peers"].count == 40
    # Two nodes are asked in each.
    assert value(second, "grape_round_trip_seconds_count") == before + 80
    network.result(second.announce("service:x", 1))
    assert value(second, "grape_lookup_duration_seconds_count", kind="write") == 1
    network.result(second.put("words"))
    network.result(third.get("00" * 20))
    assert value(third, "grape_lookup_duration_seconds_count", kind="item") == 1
    network.result(first.stopService())


def test_histograms_go_on_after_a_stop_and_a_start(network: MemoryNetwork) -> None:
    _, second = make_grapes(network, 2)
    network.clock.advance(10)
    network.result(second.lookup("a"))
    before = samples(second)
    network.result(second.stopService())
    assert value(second, "grape_ready") == 0
    second.startService()
    network.result(second.when_ready())
    after = samples(second)
    for name in ("grape_round_trip_seconds_count", "grape_lookups_total", "grape_datagrams_in_total"):
        assert after[name, frozenset()] >= before[name, frozenset()] > 0


def test_event_loop_lag_is_measured_every_two_seconds(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    network.clock.advance(10)
    assert value(grape, "grape_event_loop_lag_seconds_count") == pytest.approx(5, abs=1)
    assert value(grape, "grape_event_loop_lag_seconds_bucket", le="0.0001") == pytest.approx(5, abs=1)


def test_labels_have_no_values_that_come_from_others(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    number = len(samples(second))
    for index in range(50):
        first.node._peer_store.announce(b"%d" % index, ("10.0.9.9", index), 0.0)
    for method in (b"vote", b"\xff", b"sample_infohashes"):
        query = second.node._protocol.query(("10.0.0.1", 20001), method, {})  # type: ignore[union-attr]
        network.result(query.addErrback(lambda _: None))
    methods = {dict(labels)["method"] for _, labels in samples(first) if "method" in dict(labels)}
    assert methods == {*METHODS, OTHER}
    assert value(second, "grape_query_outcomes_total", method=OTHER, outcome="error") == 3
    assert value(first, "grape_queries_in_total", method=OTHER, outcome="refused") == 3
    assert len(samples(second)) == number


def test_put_counts_as_answered_once_it_is_durable() -> None:
    counters = Counters()
    counters.received.put += 1
    counters.waiting_puts += 1
    (queries_in,) = (family for family in FAMILIES if family.name == "grape_queries_in_total")

    class Figures:
        pass

    figures = Figures()
    figures.counters = counters  # type: ignore[attr-defined]
    assert dict(queries_in.samples(figures))["put", "answered"] == 0  # type: ignore[arg-type]
    counters.waiting_puts -= 1
    assert dict(queries_in.samples(figures))["put", "answered"] == 1  # type: ignore[arg-type]


def test_metrics_are_found_by_get_and_head_alone(network: MemoryNetwork) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    grape.startService()
    root = Resource()
    root.putChild(b"grape", grape.resource())
    client = SiteClient(GrapeSite(root, 8_192, TCPReactor(network)), PEER, LOCAL)

    def ask(sent: bytes) -> bytes:
        client.send(sent)
        return client.received()

    text = ask(request(b"", b"/grape/metrics", method=b"GET"))
    assert b"200 OK" in text
    assert b"\ngrape_ready " in text
    assert re.search(rb"content-type: text/plain; version=0.0.4", text, re.IGNORECASE)
    assert ask(request(b"{}", b"/grape/metrics")).endswith(b'"ERR_REQ_NOTFOUND"')
    head = ask(request(b"", b"/grape/metrics", method=b"HEAD"))
    assert head.endswith(b"\r\n\r\n")
    refused = ask(request(b"", b"/grape/metrics", b"Origin: http://evil.example\r\n", method=b"GET"))
    assert b" 403 " in refused
    for route, code, number in (("/metrics", "200", 2), ("other", "200", 1), ("/metrics", "403", 1)):
        assert value(grape, "grape_http_requests_total", route=route, code=code) == number
    network.result(grape.stopService())


def test_scrape_walks_through_no_peers_and_has_no_more_lines_for_a_full_store(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    grape = lone_grape(network)
    number, now = len(samples(grape)), network.clock.seconds()
    table, store = grape.node._table, grape.node._peer_store
    for index in range(5_000):
        for port in (1, 2):
            store.announce(b"service:%d" % index, ("10.0.9.9", port), now)
    own = int.from_bytes(table.own_id, "big")
    for index in range(600):
        node_id = own ^ (1 << (159 - index // 20)) ^ index % 20
        table.heard(node_id.to_bytes(20, "big"), (f"10.1.{index // 250}.{index % 250 + 1}", 1), now)

    def walked(_: object) -> None:
        raise AssertionError("a store is walked through")

    for name in ("__iter__", "all", "peers"):
        monkeypatch.setattr(MemoryPeers, name, walked)
    monkeypatch.setattr(MemoryItems, "__iter__", walked)
    assert value(grape, "grape_contacts", state="good") == 600
    assert (value(grape, "grape_services"), value(grape, "grape_peers")) == (5_000, 10_000)
    assert len(samples(grape)) == number
