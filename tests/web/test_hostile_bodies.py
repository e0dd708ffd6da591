"""Any body to the calls of a real node: a documented answer, no call left under way, no error logged."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, eventAsText

from grape.testing import MemoryNetwork, make_grapes
from grape.web.answer import EMPTY, PAYLOAD_INVALID
from grape.web.api import Api
from grape.web.request import CALL_TARGETS, Request
from tests import strategies

# The statuses in docs/http-api.md for a grape that runs, is not overloaded and can store what it is given.
STATUSES = {200, 301, 302, 400}


class Ring:
    """The API of a grape in a ring of three."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(seed=1)
        self.grapes = make_grapes(self.network, 3)
        self.api = Api(self.grapes[0].node)


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    for grape in ring.grapes:
        ring.network.result(grape.stopService())


@settings(max_examples=200)
@given(target=st.sampled_from(sorted(CALL_TARGETS)), body=strategies.hostile_bodies())
def test_any_body_gets_a_documented_answer(target: bytes, body: bytes, ring: Ring) -> None:
    with capturedLogs() as logs:
        answer = ring.network.result(ring.api.call(Request(b"POST", target, {}, "127.0.0.1", body)))
    assert answer == PAYLOAD_INVALID or answer.status in STATUSES
    assert answer in (EMPTY, PAYLOAD_INVALID) or json.loads(answer.body) is not None
    assert ring.api.under_way == 0
    assert [eventAsText(event) for event in logs if event["log_level"] >= LogLevel.error] == []
