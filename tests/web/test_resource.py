"""grape.resource: each route is declared once, and found through the server, mounted elsewhere, and in the list."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.web.resource import Resource

import grape.resource
from grape import Grape
from grape.testing import MemoryNetwork
from grape.web.access import Access
from grape.web.request import CALL_TARGETS, CALLS
from grape.web.site import GrapeSite
from tests.web.helpers import SiteClient, TCPReactor, answers, connect, request

DOCS = Path(__file__).parents[2] / "docs" / "http-api.md"
LIMIT = 8_192

ENDPOINT = """
    @route.get("/contacts", "Returns the number of contacts.", Right.INSPECT)
    def contacts(self, request: Request) -> Answer:
        return Answer(200, b"%d" % self.node.stats().contacts)
"""
LOOKUP = b'{"data":"rest:util:net"}'


def a_grape(network: MemoryNetwork, **settings: Any) -> tuple[Grape, TCPReactor]:
    """Starts a lone grape with an HTTP port."""
    reactor = TCPReactor(network)
    started = Grape(reactor=reactor, api_port=0, **settings)
    started.startService()
    network.result(started.when_ready())
    return started, reactor


def mounted(grape: Grape, *access: Access | None) -> SiteClient:
    """Returns a client of a site that has the grape's resource at /tools/grape."""
    root, tools = Resource(), Resource()
    root.putChild(b"tools", tools)
    tools.putChild(b"grape", grape.resource(*access))
    return SiteClient(GrapeSite(root, LIMIT, TCPReactor(MemoryNetwork())))


def ask(client: SiteClient, sent: bytes) -> tuple[int, bytes]:
    """Returns the answer to one request."""
    client.send(sent)
    (answer,) = client.answers()
    return answer


@pytest.fixture
def resource_with_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Takes the place of grape.resource: a copy of its source in which one endpoint was added, at one place."""
    source = Path(grape.resource.__file__).read_text()
    edited = source.replace("\n    @route(*CALLS)\n", f"{ENDPOINT}\n    @route(*CALLS)\n")
    edited = edited.replace("import CALLS, Request, Route", "import CALLS, Request, Right, Route")
    assert edited.count("\n") == source.count("\n") + ENDPOINT.count("\n")
    (tmp_path / "resource.py").write_text(edited)
    spec = spec_from_file_location("grape.resource", tmp_path / "resource.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "grape.resource", module)
    monkeypatch.setattr(grape, "resource", module)
    spec.loader.exec_module(module)
    return module


def test_endpoint_that_is_added_in_one_place_is_found_everywhere(
    network: MemoryNetwork, resource_with_an_endpoint: ModuleType
) -> None:
    started, reactor = a_grape(network)
    declared = {route.path: route for route in resource_with_an_endpoint.routes()}
    assert declared["/contacts"].summary == "Returns the number of contacts."
    port, elsewhere = connect(reactor.factories[0]), mounted(started)
    for method, body, answer in (
        (b"GET", b"", (200, b"0")),
        (b"POST", b"{}", (200, b'"ERR_REQ_NOTFOUND"')),
        (b"POST", b"{", (200, b'"ERR_REQ_NOTFOUND"')),
        (b"PUT", b"{}", (405, b'"ERR_REQ_METHOD: use GET or HEAD"')),
    ):
        port.clear()
        port.send(request(body, b"/contacts", method=method))
        assert answers(port.value()) == [answer]
        assert ask(elsewhere, request(body, b"/tools/grape/contacts", method=method)) == answer
    port.clear()
    port.send(request(b"", b"/contacts", method=b"HEAD"))
    assert port.value().startswith(b"HTTP/1.1 200 OK\r\n")
    assert port.value().endswith(b"\r\n\r\n")
    elsewhere.send(request(b"", b"/tools/grape/contacts", method=b"HEAD"))
    assert elsewhere.received().endswith(b"\r\n\r\n")
    network.result(started.stopService())


def test_routes_begin_with_the_calls() -> None:
    assert grape.resource.routes()[: len(CALLS)] == CALLS
    assert {call.path.encode() for call in CALLS} == CALL_TARGETS


def test_calls_are_those_of_the_documentation() -> None:
    documented = re.findall(r"^\| `(/\w+)` \| `(.+?)` \| (.+?) \|$", DOCS.read_text(), re.MULTILINE)
    assert documented == [(call.path, form.data, form.answer) for call in CALLS for form in call.forms]


@pytest.mark.parametrize("path", sorted(CALL_TARGETS))
def test_call_is_answered_alike_by_the_server_and_where_it_is_mounted(path: bytes, network: MemoryNetwork) -> None:
    started, reactor = a_grape(network)
    port, elsewhere = connect(reactor.factories[0]), mounted(started)
    for headers, body in (
        (b"", b"{}"),
        (b"", b"[]"),
        (b"", b"x"),
        (b"", b"\xef\xbb\xbf{}"),
        (b"", b"x" * (LIMIT + 1)),
        (b"Content-Encoding: gzip\r\n", b"{}"),
        (b"Content-Encoding: identity\r\n", b"{}"),
        (b"Origin: http://evil.example\r\n", b"{}"),
    ):
        port = connect(reactor.factories[0])
        port.send(request(body, path, headers))
        (answer,) = answers(port.value())
        elsewhere = mounted(started, Access()) if b"Origin" in headers else mounted(started)
        assert ask(elsewhere, request(body, b"/tools/grape" + path, headers)) == answer
    network.result(started.stopService())


def test_withdrawal_is_unknown_by_get_and_by_post_a_call_in_both_places(network: MemoryNetwork) -> None:
    started, reactor = a_grape(network)
    body = b'{"data":["a",1]}'
    for method, answer in ((b"GET", b'"ERR_REQ_NOTFOUND"'), (b"PUT", b'"ERR_REQ_NOTFOUND"'), (b"POST", b"0")):
        port, elsewhere = connect(reactor.factories[0]), mounted(started)
        port.send(request(body, b"/unannounce", method=method))
        elsewhere.send(request(body, b"/tools/grape/unannounce", method=method))
        network.clock.advance(3)
        assert answers(port.value()) == answers(elsewhere.received()) == [(200, answer)]
    network.result(started.stopService())


def test_mounted_resource_refuses_web_pages_and_names_the_keyword(network: MemoryNetwork) -> None:
    started, _ = a_grape(network, allow_origin="https://app.example")
    client = mounted(started)
    page = b"Origin: http://evil.example\r\n"
    refused = b"ERR_GRAPE_ORIGIN: add allow_origin='http://evil.example' to Grape(...)\n"
    assert ask(client, request(LOOKUP, b"/tools/grape/lookup", page)) == (403, refused)
    assert ask(client, request(LOOKUP, b"/tools/grape/nothing", page)) == (403, refused)
    sent = request(LOOKUP, b"/tools/grape/lookup").replace(b"localhost", b"evil.example")
    assert ask(client, sent) == (403, b"ERR_GRAPE_HOST: add allow_host='evil.example' to Grape(...)\n")
    client.send(request(LOOKUP, b"/tools/grape/nothing", b"Origin: https://app.example\r\n"))
    head = client.received().lower()
    assert head.startswith(b"http/1.1 200 ")
    assert b"access-control-allow-origin: https://app.example" in head
    preflight = b"Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"
    assert ask(client, request(b"", b"/tools/grape/lookup", preflight, b"OPTIONS")) == (204, b"")
    network.result(started.stopService())


def test_mounted_resource_without_rules_serves_web_pages(network: MemoryNetwork) -> None:
    started, _ = a_grape(network)
    client = mounted(started, None)
    sent = request(b"{", b"/tools/grape/lookup", b"Origin: http://evil.example\r\n").replace(b"localhost", b"a.example")
    assert ask(client, sent) == (500, b"ERR_GRAPE_PAYLOAD_INVALID")
    network.result(started.stopService())


def test_own_port_names_the_flag(network: MemoryNetwork) -> None:
    started, reactor = a_grape(network)
    for path in (b"/lookup", b"/nothing"):
        port = connect(reactor.factories[0])
        port.send(request(LOOKUP, path, b"Origin: http://evil.example\r\n"))
        assert answers(port.value()) == [(403, b"ERR_GRAPE_ORIGIN: add --allow-origin http://evil.example\n")]
    network.result(started.stopService())


def test_routes_by_get_are_those_of_the_documentation() -> None:
    documented = re.findall(r"^\| GET `(/[\w/.]+)` \| (.*?) ?\| .+ \|$", DOCS.read_text(), re.MULTILINE)
    declared = [route for route in grape.resource.routes() if route.methods == ("GET",) and route.is_described]
    assert [(path, re.findall(r"\w+", names)) for path, names in documented] == [
        (route.path, [parameter.name for parameter in route.parameters]) for route in declared
    ]
