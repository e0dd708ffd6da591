"""Grape as a service inside another program: the real reactor, real ports."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import Any

import pytest
import treq
from twisted.internet import reactor as global_reactor
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from grape import Grape, GrapeError
from tests.live.conftest import Embed, over_the_reactor
from tests.live.krpc import Peer
from tests.live.processes import HOST, free_port

reactor: Any = global_reactor


async def call(url: str, data: object) -> Any:
    """What a call of the HTTP API answers."""
    answer = await treq.post(url, json.dumps({"data": data}).encode(), persistent=False)
    body = await answer.content()
    assert answer.code == 200, body
    return json.loads(body)


def is_free(kind: socket.SocketKind, port: int) -> bool:
    with closing(socket.socket(type=kind)) as probe:
        if kind == socket.SOCK_STREAM:
            # Connections that have just ended are no hindrance; whoever listens is.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@over_the_reactor
async def test_grape_starts_and_stops_and_starts_again(embed: Embed) -> None:
    other = await embed()
    grape = await embed(dht_bootstrap=[(HOST, other.dht_port)], api_port=0)
    for _ in range(3):
        dht_port, api_port = grape.dht_port, grape.api_port
        assert await grape.announce("rest:util:net", 1337) == 1
        assert await call(f"http://{HOST}:{api_port}/lookup", "rest:util:net") == [f"{HOST}:1337"]
        await grape.stopService()
        assert is_free(socket.SOCK_DGRAM, dht_port)
        assert api_port
        assert is_free(socket.SOCK_STREAM, api_port)
        with pytest.raises(GrapeError, match="ERR_GRAPE_NOT_RUNNING"):
            await grape.lookup("rest:util:net")
        grape.startService()
        await grape.when_ready()


@over_the_reactor
async def test_grape_may_be_started_twice_and_stopped_twice(embed: Embed) -> None:
    grape = await embed(api_port=0)
    ports = grape.dht_port, grape.api_port
    grape.startService()
    assert (grape.dht_port, grape.api_port) == ports
    assert (grape.dht_address, grape.api_address) == ((HOST, ports[0]), (HOST, ports[1]))
    await grape.stopService()
    await grape.stopService()
    assert (grape.dht_address, grape.api_address) == (None, None)


@over_the_reactor
async def test_stop_fails_the_calls_in_progress(embed: Embed) -> None:
    with Peer() as peer:
        grape = Grape(dht_port=0, host=HOST, dht_bootstrap=[peer.node])
        grape.startService()
        ready = grape.when_ready()
        lookup = grape.lookup("rest:util:net")
        await grape.stopService()
        with pytest.raises(GrapeError, match="ERR_GRAPE_NOT_RUNNING"):
            await ready
        with pytest.raises(GrapeError, match="ERR_GRAPE_NOT_RUNNING"):
            await lookup


@over_the_reactor
async def test_several_grapes_in_one_process_serve_http_each(embed: Embed) -> None:
    first = await embed(api_port=0)
    grapes = [first, *[await embed(dht_bootstrap=[(HOST, first.dht_port)], api_port=0) for _ in range(3)]]
    urls = [f"http://{HOST}:{grape.api_port}" for grape in grapes]
    assert len(set(urls)) == 4
    for number, url in enumerate(urls):
        assert await call(f"{url}/announce", [f"service {number}", 1337]) == 3
        for other in urls:
            assert await call(f"{other}/lookup", f"service {number}") == [f"{HOST}:1337"]


@over_the_reactor
async def test_taken_udp_port_raises_and_leaves_nothing_open(embed: Embed) -> None:
    other = await embed()
    api_port = free_port()
    grape = Grape(dht_port=other.dht_port, api_port=api_port, host=HOST)
    with pytest.raises(CannotListenError):
        grape.startService()
    assert not grape.running
    assert is_free(socket.SOCK_STREAM, api_port)


@over_the_reactor
async def test_taken_tcp_port_raises_and_leaves_nothing_open(embed: Embed) -> None:
    other = await embed(api_port=0)
    dht_port = free_port()
    grape = Grape(dht_port=dht_port, api_port=other.api_port, host=HOST)
    with pytest.raises(CannotListenError):
        grape.startService()
    assert not grape.running
    # A UDP port of the reactor closes in its next turn.
    await deferLater(reactor, 0)
    assert is_free(socket.SOCK_DGRAM, dht_port)


@over_the_reactor
async def test_grape_starts_once_the_port_that_was_taken_is_free(embed: Embed) -> None:
    other = await embed(api_port=0)
    grape = Grape(dht_port=0, api_port=other.api_port, host=HOST)
    with pytest.raises(CannotListenError):
        grape.startService()
    await other.stopService()
    grape.startService()
    assert await call(f"http://{HOST}:{grape.api_port}/lookup", "nobody") == []
    await grape.stopService()


@over_the_reactor
async def test_resource_serves_under_a_path_of_another_site(embed: Embed) -> None:
    grape = await embed()
    root, tools = Resource(), Resource()
    root.putChild(b"tools", tools)
    tools.putChild(b"grape", grape.resource())
    port = reactor.listenTCP(0, Site(root), interface=HOST)
    try:
        url = f"http://{HOST}:{port.getHost().port}"
        assert await call(f"{url}/tools/grape/announce", ["rest:util:net", 1337]) == 1
        assert await call(f"{url}/tools/grape/lookup", "rest:util:net") == [f"{HOST}:1337"]
        assert await call(f"{url}/tools/grape/nothing", None) == "ERR_REQ_NOTFOUND"
        elsewhere = await treq.post(f"{url}/lookup", b'{"data":"rest:util:net"}', persistent=False)
        assert elsewhere.code == 404
        await elsewhere.content()
    finally:
        await port.stopListening()
