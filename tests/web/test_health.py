"""grape.web.probes and grape.web.health: what load balancers and orchestrators are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.resource import Resource

import grape.resource
from grape import Grape
from grape.testing import MemoryNetwork
from grape.web.probes import Probes
from grape.web.site import GrapeSite
from tests.web.helpers import Server, SiteClient, TCPReactor, Transport, answers, connect, request

EVIL = b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
READY = 200, b'{"status":"ready"}'
STOPPING = 503, b'{"status":"stopping","problems":["stopping"]}'
ISOLATED = 503, b'{"status":"isolated","problems":["isolated"]}'
DEGRADED = b'{"status":"degraded","problems":["degraded"]}'
ALIVE = 200, b'{"status":"alive"}'
NOT_ALLOWED = (405, b'"ERR_REQ_METHOD: use GET or HEAD"')
NOT_FOUND = 200, b'"ERR_REQ_NOTFOUND"'


def get(path: bytes, headers: bytes = b"", host: bytes = b"localhost", method: bytes = b"GET") -> bytes:
    return request(b"", path, headers, method).replace(b"localhost", host)


class Port:
    """A grape with a port of its own, and a resource of it below a path of another site; both are asked."""

    def __init__(self, network: MemoryNetwork, **settings: Any) -> None:
        self.network = network
        self.reactor = TCPReactor(network, "10.0.0.1")
        self.grape = Grape(reactor=self.reactor, api_port=0, **settings)
        self.grape.startService()
        self.client = self.connect()
        root = Resource()
        root.putChild(b"grape", self.grape.resource())
        self.elsewhere = SiteClient(GrapeSite(root, 8_192, self.reactor))

    @property
    def is_site_loaded(self) -> bool:
        return self.grape.http._site.is_loaded

    def connect(self) -> Transport:
        return connect(self.reactor.factories[0])

    def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Returns the answer of the own port, which is also that of the resource elsewhere."""
        self.client.clear()
        self.client.send(sent)
        (answer,) = answers(self.client.value())
        method, _, rest = sent.partition(b" ")
        self.elsewhere.send(method + b" /grape" + rest)
        (there,) = self.elsewhere.answers()
        # A refusal names a flag here and a keyword there.
        assert there == answer or there[0] == answer[0] == 403
        return answer


@pytest.fixture
def port(network: MemoryNetwork) -> Port:
    """A grape that is alone on purpose and has tried to join."""
    port = Port(network)
    network.result(port.grape.when_ready())
    return port


def two(network: MemoryNetwork, **settings: Any) -> tuple[Grape, Port]:
    """Returns a grape, and the port of another that has joined through it."""
    other = Grape(reactor=network.reactor("10.0.0.2"))
    other.startService()
    port = Port(network, dht_bootstrap=["10.0.0.2:20001"], **settings)
    network.result(port.grape.when_ready())
    return other, port


# Plain health checks


def test_health_checks_answer_alone_on_purpose(port: Port) -> None:
    assert port.ask(get(b"/livez")) == ALIVE
    assert port.ask(get(b"/readyz")) == READY


@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/readyz?verbose", b"/status"])
def test_health_check_by_head_has_no_body(port: Port, path: bytes) -> None:
    port.client.send(get(path, method=b"HEAD"))
    head, _, body = port.client.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""


@pytest.mark.parametrize("path", [b"/livez", b"/readyz"])
def test_health_check_is_json_that_is_not_to_be_stored(port: Port, path: bytes) -> None:
    port.client.send(get(path))
    port.elsewhere.send(get(b"/grape" + path))
    for received in (port.client.value(), port.elsewhere.received()):
        lines = received.lower().split(b"\r\n")
        assert {b"content-type: application/json", b"cache-control: no-store"} <= set(lines)


@pytest.mark.parametrize("path", [b"/livez", b"/readyz"])
@pytest.mark.parametrize(
    ("headers", "host"), [(b"", b"grape.example"), (EVIL, b"localhost"), (EVIL, b"evil.example"), (b"", b"\xff")]
)
def test_plain_health_check_is_answered_whatever_host_and_origin_say(
    port: Port, path: bytes, headers: bytes, host: bytes
) -> None:
    assert port.ask(get(path, headers, host))[0] == 200


@pytest.mark.parametrize("path", [b"/readyz?verbose", b"/readyz?strict", b"/livez?x", b"/status", b"/nodes", b"/sd"])
@pytest.mark.parametrize(("headers", "host"), [(b"", b"grape.example"), (EVIL, b"localhost")])
def test_other_paths_are_under_the_access_rules(port: Port, path: bytes, headers: bytes, host: bytes) -> None:
    assert port.ask(get(path, headers, host))[0] == 403


def test_health_check_over_http_1_0_without_a_host_is_answered(port: Port) -> None:
    port.client.send(b"GET /readyz HTTP/1.0\r\n\r\n")
    assert answers(port.client.value()) == [READY]
    assert port.client.ended == "closed"


@pytest.mark.parametrize(
    "path", [b"/livez", b"/readyz", b"/readyz?strict", b"/status", b"/nodes", b"/services", b"/sd"]
)
@pytest.mark.parametrize(
    ("method", "body", "answer"),
    [
        (b"POST", b'{"data":"x"}', NOT_FOUND),
        (b"POST", b"{", NOT_FOUND),
        (b"PUT", b'{"data":"x"}', NOT_ALLOWED),
        (b"DELETE", b"", NOT_ALLOWED),
    ],
)
def test_other_methods_find_no_new_path(
    port: Port, path: bytes, method: bytes, body: bytes, answer: tuple[int, bytes]
) -> None:
    assert port.ask(request(body, path, method=method)) == answer


def test_exempt_routes_are_those_that_the_server_answers_itself(port: Port) -> None:
    exempt = {route.path.encode() for route in grape.resource.routes() if route.exempt}
    assert exempt == set(Probes(port.grape.node.inspector).by_target)


def test_health_checks_among_calls_are_answered_in_their_turn() -> None:
    server = Server()
    server.factory.probes = Probes(_Lone()).by_target
    client = server.connect()
    client.send(request() + get(b"/livez") + request() + get(b"/nothing") + get(b"/livez"))
    assert answers(client.value()) == []
    server.answer(1, b"[2]")
    server.answer(0, b"[1]")
    assert answers(client.value())[:3] == [(200, b"[1]"), ALIVE, (200, b"[2]")]
    # What comes after a request for the site is the site's.
    assert [body for _, body in answers(client.value())[3:]] == [b"page of /nothing ", b"page of /livez "]
    server.close()


class _Lone:
    def readiness(self) -> Any:
        raise AssertionError("not asked")


def test_health_check_does_not_load_the_site(network: MemoryNetwork) -> None:
    reactor = TCPReactor(network, "10.0.0.1")
    grape = Grape(dht_bootstrap=["10.0.0.9:20001"], reactor=reactor, api_port=0)
    grape.startService()
    client = connect(reactor.factories[0])
    client.send(get(b"/livez") + get(b"/readyz"))
    assert answers(client.value()) == [ALIVE, (503, b'{"status":"joining","problems":["joining"]}')]
    assert not grape.http._site.is_loaded
    network.result(grape.stopService())


# Readiness


def test_readiness_is_lost_in_isolation_and_comes_back_by_itself(network: MemoryNetwork) -> None:
    _, port = two(network)
    assert port.ask(get(b"/readyz")) == READY
    network.partition(["10.0.0.1"])
    network.clock.advance(8)
    assert port.ask(get(b"/readyz")) == ISOLATED
    assert port.ask(get(b"/livez")) == ALIVE
    network.clock.advance(20)
    network.heal()
    network.clock.advance(7)
    assert port.ask(get(b"/readyz")) == READY


def test_readiness_of_a_ring_of_two_may_survive_isolation(network: MemoryNetwork) -> None:
    other, port = two(network, ready_isolated=True)
    network.result(other.stopService())
    network.clock.advance(8)
    assert port.ask(get(b"/readyz")) == (200, ISOLATED[1])
    assert port.ask(get(b"/readyz?strict"))[0] == 200


def test_readiness_without_a_disk_is_lost_only_in_the_strict_sense(
    network: MemoryNetwork, port: Port, tmp_path: Any
) -> None:
    port = Port(network, state=str(tmp_path / "a.sqlite"), dht_port=0)
    recorder = port.grape.node._recorder
    assert recorder is not None
    assert port.ask(get(b"/readyz?strict")) == READY
    recorder.problem = "database or disk is full"
    assert port.ask(get(b"/readyz")) == port.ask(get(b"/readyz?strict=false")) == (200, DEGRADED)
    assert port.ask(get(b"/readyz?strict")) == port.ask(get(b"/readyz?strict=true")) == (503, DEGRADED)
    checks = json.loads(port.ask(get(b"/readyz?verbose"))[1])["checks"]
    assert checks[2] == {
        "name": "state",
        "state": "degraded",
        "text": "state is not on the disk: database or disk is full",
    }
    recorder.problem = None
    assert port.ask(get(b"/readyz?strict")) == READY
    network.result(port.grape.stopService())


def test_readiness_lists_every_check_if_it_is_asked_to(port: Port) -> None:
    status, body = port.ask(get(b"/readyz?verbose"))
    told = json.loads(body)
    assert (status, told["status"], told["problems"]) == (200, "ready", [])
    assert [(check["name"], check["state"]) for check in told["checks"]] == [
        ("process", "ok"),
        ("network", "ok"),
        ("state", "ok"),
    ]


def test_answer_503_says_when_to_ask_again(network: MemoryNetwork, port: Port) -> None:
    network.result(port.grape.stopService())
    port.elsewhere.send(get(b"/grape/readyz"))
    assert b"\r\nretry-after: 1\r\n" in port.elsewhere.received().lower()


def test_grape_that_drains_is_alive_but_not_ready_for_as_long_as_its_port_is_open(network: MemoryNetwork) -> None:
    port = Port(network)
    network.result(port.grape.when_ready())
    port.grape.node.is_stopping = True
    for _ in range(2):
        assert port.ask(get(b"/livez")) == ALIVE
        assert port.ask(get(b"/readyz")) == STOPPING
        port.client = port.connect()
        network.clock.advance(2)


def test_connection_that_is_open_while_a_grape_stops_is_told_so(network: MemoryNetwork) -> None:
    other, port = two(network)
    network.result(other.stopService())
    client = port.connect()
    client.send(request(b'{"data":"x"}'))
    stopped = port.grape.stopService()
    client.send(get(b"/readyz"))
    network.result(stopped)
    assert answers(client.value())[1:] == [STOPPING]


def test_resource_of_a_grape_that_does_not_run_is_not_ready(network: MemoryNetwork) -> None:
    root = Resource()
    root.putChild(b"grape", Grape(reactor=network.reactor("10.0.0.1")).resource())
    client = SiteClient(GrapeSite(root, 8_192, network.clock), IPv4Address("TCP", "10.0.0.9", 1))
    client.send(get(b"/grape/readyz"))
    assert client.answers() == [STOPPING]


# Parameters


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (b"strict=maybe", "strict takes true or false, not 'maybe'"),
        (b"strict&strict", "strict is given more than once"),
    ],
)
def test_wrong_parameter_is_answered_400(port: Port, query: bytes, problem: str) -> None:
    status, body = port.ask(get(b"/readyz?" + query))
    assert (status, json.loads(body)) == (400, f"ERR_GRAPE_PARAMETER: {problem}")
