"""grape.web.api: withdrawals, and announces for a short life, which the Node grape does not have."""

from __future__ import annotations

import math

import pytest

from grape.testing import MemoryNetwork, make_grapes
from grape.web.answer import NOT_FOUND, Answer
from grape.web.api import Api
from tests.web.test_api import FakeCalls, call, fired, only_call, post


@pytest.mark.parametrize(
    ("third", "ttl"),
    [({"ttl": 30}, 30), ({"ttl": 0.5, "more": 1}, 0.5), ({"ttl": -1}, -1)],
)
def test_announce_takes_a_life_in_seconds(third: object, ttl: float) -> None:
    calls = FakeCalls()
    assert call("/announce", ["a", 1337, third], calls) == Answer(200, b"1")
    assert only_call(calls) == ("a", 1337, ttl)


@pytest.mark.parametrize("ttl", [None, "30", True, [], {}])
def test_life_of_a_wrong_type_is_handed_on_as_no_number(ttl: object) -> None:
    calls = FakeCalls()
    call("/announce", ["a", 1337, {"ttl": ttl}], calls)
    assert math.isnan(only_call(calls)[2])


@pytest.mark.parametrize("third", ["more", 30, [30], None, {}, {"TTL": 30}, {"age": 30}])
def test_other_third_elements_of_an_announce_are_ignored(third: object) -> None:
    calls = FakeCalls()
    assert call("/announce", ["a", 1337, third], calls) == Answer(200, b"1")
    assert only_call(calls) == ("a", 1337)


def test_life_that_no_peer_can_have_is_told_by_a_code(network: MemoryNetwork) -> None:
    (lone,) = make_grapes(network, 1)
    for ttl in (0, 0.999, 240.001, "30", None):
        answer = network.result(Api(lone.node).call(post("/announce", ["a", 1, {"ttl": ttl}])))
        assert answer == Answer(200, b'"ERR_GRAPE_SERVICE_TTL"')
    assert network.result(Api(lone.node).call(post("/announce", ["a", 1, {"ttl": 1}]))) == Answer(200, b"1")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (["a", 1337], Answer(200, b"2")),
        (["a", 1337, {"ttl": 5}], Answer(200, b"2")),
        ("a", Answer(200, b'"ERR_GRAPE_UNANNOUNCE"')),
        (None, Answer(200, b'"ERR_GRAPE_UNANNOUNCE"')),
        ({"0": "a", "1": 1337}, Answer(200, b'"ERR_GRAPE_UNANNOUNCE"')),
        ([], Answer(200, b'"ERR_GRAPE_SERVICE_PORT"')),
        (["a"], Answer(200, b'"ERR_GRAPE_SERVICE_PORT"')),
        (["a", "1337"], Answer(200, b'"ERR_GRAPE_SERVICE_PORT"')),
        (["a", 65_536], Answer(200, b'"ERR_GRAPE_SERVICE_PORT"')),
        ([5, 1337], Answer(400, b'"ERR_GRAPE_UNANNOUNCE"')),
    ],
)
def test_withdrawal_is_answered(data: object, answer: Answer) -> None:
    calls = FakeCalls()
    assert call("/unannounce", data, calls) == answer
    assert calls.calls == ([("un", "a", 1337)] if answer.body == b"2" else [])


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"post"])
def test_withdrawal_is_found_by_post_alone(method: bytes) -> None:
    calls = FakeCalls()
    asked = post("/unannounce", ["a", 1337])
    asked.method = method
    api = Api(calls)
    assert fired(api.call(asked)) == NOT_FOUND
    assert not calls.calls
    assert api.under_way == 0
