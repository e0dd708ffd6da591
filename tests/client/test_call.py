"""grape.client.call: which grapes are asked, when, and how a call ends; with a clock handed in."""

from __future__ import annotations

import random

import pytest

from grape.client import requests
from grape.client.answers import Answer
from grape.client.call import PAUSES_SECONDS, Attempt, Call
from grape.client.errors import AnswerError, DeadlineError, NotSupportedError, UnreachableError
from grape.client.grapes import Grapes
from grape.errors import GrapeError

A, B, C = (f"http://10.0.0.{n}:30001" for n in (1, 2, 3))
GOOD = Answer(200, b'["10.0.0.9:80"]')
ISOLATED = Answer(200, b'"No nodes to query"')
STOPPING = Answer(503, b'"ERR_GRAPE_NOT_RUNNING"')


def new_grapes(*urls: str) -> Grapes:
    return Grapes(urls, random.Random(1))


def new_call(grapes: Grapes, deadline: float = 5.0) -> Call[list[str]]:
    return Call(requests.lookup("name"), grapes, "id", deadline, 0.5)


def hosts(attempts: list[Attempt]) -> list[str]:
    return [attempt.url.removesuffix("/lookup") for attempt in attempts]


def test_call_asks_the_first_grape_alone() -> None:
    call = new_call(new_grapes(A, B))
    (attempt,) = call.start(0.0)
    assert attempt == Attempt(1, "POST", f"{A}/lookup", b'{"rid":"id","data":"name"}', 5.0)
    assert call.told(1, GOOD, 0.1) == []
    assert call.is_over
    assert call.result == ["10.0.0.9:80"]


def test_call_asks_the_next_at_once_where_one_fails() -> None:
    grapes = new_grapes(A, B)
    call = new_call(grapes)
    call.start(0.0)
    assert hosts(call.told(1, "connection refused", 0.1)) == [B]
    call.told(2, GOOD, 0.2)
    # It is left alone by the next call, for about a second.
    assert hosts(new_call(grapes).start(0.2)) == [B]
    assert hosts(new_call(grapes).start(1.5)) == [A]


def test_call_asks_another_beside_a_slow_grape_and_takes_the_first_answer() -> None:
    grapes = new_grapes(A, B, C)
    call = new_call(grapes)
    call.start(0.0)
    assert call.wake_at == 0.5
    assert call.woken(0.4) == []
    assert hosts(call.woken(0.5)) == [B]
    assert call.wake_at == 1.0
    assert hosts(call.woken(1.0)) == [C]
    assert call.wake_at == 5.0
    call.told(1, GOOD, 1.2)
    assert call.result == ["10.0.0.9:80"]
    # The second was slow too, the third had no time.
    assert hosts(new_call(grapes).start(1.2)) == [A]
    assert grapes.choose(1.2, False, {A}) == C


def test_call_of_one_grape_has_no_other_to_ask() -> None:
    call = new_call(new_grapes(A))
    call.start(0.0)
    assert call.wake_at == 5.0


def test_call_asks_again_a_few_times_where_all_fail() -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    now = 0.0
    for number, pause in enumerate(PAUSES_SECONDS):
        assert len(call.told(1 + 2 * number, "refused", now)) == 1
        assert call.told(2 + 2 * number, "refused", now) == []
        assert call.wake_at == now + pause
        now += pause
        assert len(call.woken(now)) == 1
    call.told(7, "refused", now)
    call.told(8, "gone", now)
    with pytest.raises(UnreachableError) as raised:
        _ = call.result
    assert raised.value.failures[-2:] == (f"{A}: refused", f"{B}: gone")
    assert str(raised.value) == f"ERR_GRAPE_UNREACHABLE: {A}: refused; {B}: refused; {B}: gone"


def test_call_ends_at_the_deadline_and_leaves_the_silent_alone() -> None:
    grapes = new_grapes(A, B)
    call = new_call(grapes)
    call.start(0.0)
    call.woken(0.5)
    assert call.woken(5.0) == []
    with pytest.raises(DeadlineError) as raised:
        _ = call.result
    assert raised.value.failures == (f"{A}: no answer within 5.0 s", f"{B}: no answer within 4.5 s")
    assert call.told(1, GOOD, 5.1) == []
    assert call.told(7, GOOD, 5.1) == []


def test_call_asks_a_grape_that_declines_once_and_tells_what_it_said() -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    assert hosts(call.told(1, ISOLATED, 0.1)) == [B]
    call.told(2, ISOLATED, 0.2)
    with pytest.raises(GrapeError) as raised:
        _ = call.result
    assert raised.value.code == "No nodes to query"


def test_call_asks_again_one_that_failed_but_none_that_declined() -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    call.told(1, ISOLATED, 0.0)
    call.told(2, STOPPING, 0.0)
    assert hosts(call.woken(call.wake_at)) == [B]
    call.told(3, GOOD, 0.1)
    assert call.result == ["10.0.0.9:80"]


def test_call_waits_for_the_slow_grape_where_the_other_declines() -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    call.woken(0.5)
    assert call.told(2, ISOLATED, 0.6) == []
    assert not call.is_over
    call.told(1, GOOD, 2.0)
    assert call.result == ["10.0.0.9:80"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b'"ERR_GRAPE_LOOKUP"'),
        Answer(413, b"ERR_GRAPE_PAYLOAD_SIZE"),
        Answer(500, b"ERR_GRAPE_PAYLOAD_INVALID"),
    ],
)
def test_call_that_is_wrong_is_not_asked_elsewhere(answer: Answer) -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    assert call.told(1, answer, 0.1) == []
    with pytest.raises(GrapeError, match="ERR_GRAPE"):
        _ = call.result


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":1}', b"[1]", b"[" * 100_000])
def test_call_asks_the_next_where_the_answer_is_none_of_a_grape(body: bytes) -> None:
    call = new_call(new_grapes(A, B))
    call.start(0.0)
    assert hosts(call.told(1, Answer(200, body), 0.1)) == [B]
    for _ in range(9):
        if call.is_over:
            break
        call.woken(call.wake_at)
    with pytest.raises((AnswerError, DeadlineError)):
        _ = call.result


def test_announce_goes_through_grapes_of_the_first_host_alone() -> None:
    grapes = new_grapes("http://127.0.0.1:1", "http://10.0.0.1:2", "http://localhost:3")
    call = Call(requests.announce("name", 1337), grapes, "id", 5.0, 0.5)
    assert [each.url for each in call.start(0.0)] == ["http://127.0.0.1:1/announce"]
    assert [each.url for each in call.told(1, "refused", 0.1)] == ["http://localhost:3/announce"]
    assert call.told(2, "refused", 0.2) == []


def test_unannounce_asks_all_grapes_before_it_is_not_supported() -> None:
    call = Call(requests.unannounce("name", 1337), new_grapes(A, f"{A}/other"), "id", 5.0, 0.5)
    call.start(0.0)
    assert len(call.told(1, Answer(200, b'"ERR_REQ_NOTFOUND"'), 0.1)) == 1
    call.told(2, Answer(200, b'"ERR_REQ_NOTFOUND"'), 0.1)
    with pytest.raises(NotSupportedError):
        _ = call.result
