"""grape.web.api: calls whose client is gone: lookups and gets end, announces and puts are made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import CancelledError

from grape.testing import MemoryNetwork, make_grapes
from grape.web.answer import EMPTY, FAULT, OVERLOADED, Answer
from grape.web.api import Api
from tests.web.test_api import HASH, FakeCalls, call, fired, post

# In which an announce or a put ends that nobody waits for.
UNATTENDED_SECONDS = 2.3


@pytest.mark.parametrize(("path", "data"), [("/lookup", "a"), ("/get", HASH)])
def test_lookup_and_get_are_under_way_until_they_end_or_are_cancelled(path: str, data: object) -> None:
    network = MemoryNetwork()
    api = Api(make_grapes(network, 2)[0].node)
    ended, cancelled = (api.call(post(path, data)) for _ in range(2))
    assert api.under_way == 2
    cancelled.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    assert api.under_way == 1
    assert network.result(ended) == (Answer(200, b"[]") if path == "/lookup" else EMPTY)
    assert api.under_way == 0


@pytest.mark.parametrize(("path", "data"), [("/announce", ["a service", 7]), ("/put", "a"), ("/put", {"v": ["a", 1]})])
def test_announce_and_put_are_made_though_they_are_cancelled(path: str, data: object) -> None:
    network = MemoryNetwork()
    first, second = make_grapes(network, 2)
    api = Api(second.node, max_calls=1)
    answered: list[Answer] = []
    call = api.answer(post(path, data), answered.append)
    for _ in range(2):
        call.cancel()
    attended = api.when_attended()
    assert (api.under_way, attended.called) == (1, False)
    assert fired(api.call(post("/lookup", "a"))) == OVERLOADED
    network.clock.advance(UNATTENDED_SECONDS)
    assert (api.under_way, attended.called, answered) == (0, True, [])
    assert api.when_attended().called
    stats = first.stats()
    assert (stats.services if path == "/announce" else stats.items) == 1


def test_announce_that_nobody_waits_for_ends_in_time_if_no_node_answers() -> None:
    network = MemoryNetwork()
    first, second = make_grapes(network, 2)
    network.result(first.stopService())
    api = Api(second.node)
    api.call(post("/announce", ["a service", 7])).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    assert api.under_way == 1
    network.clock.advance(UNATTENDED_SECONDS)
    assert api.under_way == 0


@pytest.mark.parametrize(("path", "data"), [("/announce", ["a service", 7]), ("/put", "a")])
def test_announce_and_put_are_made_though_the_client_of_a_mounted_resource_left(path: str, data: object) -> None:
    network = MemoryNetwork()
    first, second = make_grapes(network, 2)
    client: Any = StubTreq(second.resource())
    asked = client.post(f"http://localhost{path}", json.dumps({"data": data}).encode())
    asked.addErrback(lambda failure: None)
    asked.cancel()
    client.flush()
    network.clock.advance(UNATTENDED_SECONDS)
    stats = first.stats()
    assert (stats.services if path == "/announce" else stats.items) == 1


def test_announce_of_an_embedder_can_be_cancelled() -> None:
    network = MemoryNetwork()
    first, second = make_grapes(network, 2)
    second.announce("a service", 7).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    network.clock.advance(UNATTENDED_SECONDS)
    assert first.stats().services == 0


def test_call_that_is_cancelled_is_no_fault() -> None:
    assert call("/put", "a", FakeCalls(error=CancelledError())) == FAULT
