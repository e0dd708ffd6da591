"""The three kinds of link: all behave alike, against scripted grapes and a real one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from typing import Any

import pytest

from grape import Grape, GrapeError
from grape.client import (
    DeadlineError,
    NotSupportedError,
    SignatureError,
    UnreachableError,
    new_private_key,
    public_key,
)
from grape.client.httpx_clients import failure_text
from tests.client.conftest import NewFake
from tests.client.fake import FakeGrape
from tests.client.styles import Opened, in_thread
from tests.live.processes import free_port

NAME = "rest:util:net"
PEER = "127.0.0.1:1337"


def url(grape: Grape) -> str:
    return f"http://127.0.0.1:{grape.api_port}"


def until(holds: Any) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@in_thread
def test_link_announces_looks_up_puts_and_gets(open_link: Opened, grape: Grape) -> None:
    link = open_link(url(grape))
    assert link.lookup(NAME) == []
    assert link.announce(NAME, 1337) == 1
    assert link.lookup(NAME) == [PEER]
    hash = link.put({"a": [1, "b"]})
    assert link.get(hash).value == {"a": [1, "b"]}
    assert link.get(link.put(5)).value == 5
    assert link.get("0" * 40) is None


@pytest.mark.parametrize("salt", [None, "salt ✓", '["a"]', b"\xff\x00"])
@in_thread
def test_mutable_items_are_signed_and_verified(open_link: Opened, grape: Grape, salt: str | bytes | None) -> None:
    link, key = open_link(url(grape)), new_private_key()
    assert link.get_mutable(public_key(key), salt) is None
    octets = salt.encode() if isinstance(salt, str) else salt or b""
    assert link.put_mutable(key, "first", salt=salt) == sha1(public_key(key) + octets).hexdigest()
    first = link.get_mutable(public_key(key), salt)
    # Microseconds since 1970.
    assert (first.value, first.seq > 1_600_000_000_000_000) == ("first", True)
    link.put_mutable(key, 5, salt=salt)
    second = link.get_mutable(public_key(key), salt)
    assert (second.value, second.seq, second.salt) == (5, first.seq + 1, octets)
    link.put_mutable(key, [1, {"a": "b"}], salt=salt, cas=second.seq)
    assert link.get_mutable(public_key(key), salt).value == [1, {"a": "b"}]


@in_thread
def test_mutable_put_fails_where_another_item_is(open_link: Opened, grape: Grape) -> None:
    link, key = open_link(url(grape)), new_private_key()
    link.put_mutable(key, "words", seq=7)
    # The same again is a refresh.
    link.put_mutable(key, "words", seq=7)
    for arguments, status in (({"seq": 8, "cas": 6}, 301), ({"seq": 6}, 302)):
        with pytest.raises(GrapeError) as raised:
            link.put_mutable(key, "others", **arguments)
        assert (raised.value.status, raised.value.code[:3]) == (status, str(status))


@in_thread
def test_errors_have_the_code_of_the_grape_also_with_status_200(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    grape.scripts["/announce"] = (200, b'"All queries failed"')
    grape.scripts["/lookup"] = (413, b"ERR_GRAPE_PAYLOAD_SIZE")
    link = open_link(grape.url)
    with pytest.raises(GrapeError) as raised:
        link.announce(NAME, 1337)
    assert (raised.value.code, raised.value.status) == ("All queries failed", 200)
    with pytest.raises(GrapeError) as raised:
        link.lookup(NAME)
    assert (raised.value.code, raised.value.status) == ("ERR_GRAPE_PAYLOAD_SIZE", 413)


@in_thread
def test_what_no_grape_takes_is_not_sent(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    link = open_link(grape.url)
    calls = [
        ("ERR_GRAPE_LOOKUP", lambda: link.lookup("")),
        ("ERR_GRAPE_ANNOUNCE", lambda: link.announce("", 1)),
        ("ERR_GRAPE_SERVICE_PORT", lambda: link.announce(NAME, 65_536)),
        ("ERR_GRAPE_SERVICE_PORT", lambda: link.unannounce(NAME, -1)),
        ("ERR_GRAPE_HASH_FORMAT", lambda: link.get("No nodes to query")),
        ("ERR_GRAPE_PUT", lambda: link.put(1.5)),
        ("v must be less than 1000 bytes in put()", lambda: link.put_mutable(new_private_key(), "x" * 1_001, 1)),
    ]
    for code, call in calls:
        with pytest.raises(GrapeError) as raised:
            call()
        assert raised.value.code == code
    assert grape.requests == []


@in_thread
def test_next_grape_is_asked_where_one_is_gone_or_cannot_serve(open_link: Opened, fake: NewFake) -> None:
    isolated, good = fake(), fake()
    isolated.scripts["/announce"] = (200, b'"No nodes to query"')
    good.scripts["/announce"] = lambda data: 2
    link = open_link([f"http://127.0.0.1:{free_port()}/", isolated.url, good.url])
    assert link.announce(NAME, 1337) == 2
    assert (len(isolated.requests), len(good.requests)) == (1, 1)


@in_thread
def test_next_grape_is_asked_beside_a_slow_one(open_link: Opened, fake: NewFake) -> None:
    slow, good = fake(), fake()
    slow.hanging.set()
    good.scripts["/lookup"] = lambda data: [PEER]
    link = open_link([slow.url, good.url], slow_after=0.05)
    for name in ("a", "b", "c"):
        assert link.lookup(name) == [PEER]
    # How long the slow one is then left alone, tests/client/test_call.py says.
    assert slow.asked("/lookup")[:1] == ["a"]
    assert good.asked("/lookup") == ["a", "b", "c"]


@in_thread
def test_call_ends_at_its_deadline(open_link: Opened, fake: NewFake) -> None:
    slow = fake()
    slow.hanging.set()
    link = open_link([slow.url], timeout=0.3)
    with pytest.raises(DeadlineError) as raised:
        link.lookup(NAME)
    assert raised.value.code == "ERR_TIMEOUT"
    assert slow.url in str(raised.value)


@in_thread
def test_call_without_any_grape_names_them(open_link: Opened) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match="ERR_GRAPE_UNREACHABLE: " + nobody):
        open_link(nobody).lookup(NAME)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Errno 111] Connection refused", "Connection refused"),
        ("[Errno -2] Name unknown", "Name unknown"),
        ("", "OSError"),
    ],
)
def test_failure_is_told_without_the_number_of_the_system(text: str, told: str) -> None:
    assert failure_text(OSError(text)) == told


@in_thread
def test_grape_that_comes_back_serves_the_same_call(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    states = [(503, b'"ERR_GRAPE_NOT_RUNNING"'), (503, b'"ERR_GRAPE_OVERLOADED"')]

    def answer(path: str, data: Any, has_body: bool) -> tuple[int, bytes]:
        return states.pop(0) if states else (200, b"1")

    grape.answer = answer  # type: ignore[method-assign]
    assert open_link(grape.url).announce(NAME, 1337) == 1


@in_thread
def test_equal_lookups_under_way_are_one(open_link: Opened, fake: NewFake) -> None:
    grape = fake()

    def answer(data: Any) -> list[str]:
        time.sleep(0.2)
        return [PEER]

    grape.scripts["/lookup"] = answer
    link = open_link(grape.url, cache_seconds=0)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(link.lookup, [NAME] * 8)) == [[PEER]] * 8
    assert len(grape.requests) == 1
    assert link.lookup(NAME) == [PEER]
    assert len(grape.requests) == 2


@in_thread
def test_failure_of_equal_lookups_is_told_to_all(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    grape.hanging.set()
    link = open_link(grape.url, timeout=0.3)

    def code(name: str) -> str:
        with pytest.raises(GrapeError) as raised:
            link.lookup(name)
        return raised.value.code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(code, [NAME] * 4)) == ["ERR_TIMEOUT"] * 4


@in_thread
def test_link_makes_many_calls_at_a_time(open_link: Opened, grape: Grape) -> None:
    link = open_link(url(grape))

    def calls(thread: int) -> None:
        for number in range(20):
            name = f"{thread}:{number}"
            assert link.announce(name, 1337) == 1
            assert link.lookup(name) == [PEER]
            assert link.announce("shared", 1_024 + thread) == 1
            assert f"127.0.0.1:{1_024 + thread}" in link.lookup("shared")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8)))


@in_thread
def test_lookups_are_kept_but_no_empty_one_and_announces_are_seen(open_link: Opened, grape: Grape) -> None:
    link = open_link(url(grape))
    assert link.lookup(NAME) == []
    assert open_link(url(grape)).announce(NAME, 1337) == 1
    assert link.lookup(NAME) == [PEER]
    assert open_link(url(grape)).announce(NAME, 1338) == 1
    assert link.lookup(NAME) == [PEER]
    assert link.announce(NAME, 1339) == 1
    assert len(link.lookup(NAME)) == 3


@in_thread
def test_dead_peer_is_passed_over(open_link: Opened, grape: Grape) -> None:
    link = open_link(url(grape), order="round-robin")
    for port in (1, 2, 3):
        link.announce(NAME, port)
    assert [link.lookup(NAME)[0] for _ in range(3)] == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    link.report_dead("127.0.0.1:2")
    assert [link.lookup(NAME)[0] for _ in range(3)] == ["127.0.0.1:1", "127.0.0.1:3", "127.0.0.1:1"]


@in_thread
def test_ttl_is_sent_if_it_is_given(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    grape.scripts["/announce"] = lambda data: 1
    link = open_link(grape.url)
    link.announce(NAME, 1337)
    link.announce(NAME, 1337, ttl=30)
    assert grape.asked("/announce") == [[NAME, 1337], [NAME, 1337, {"ttl": 30}]]


@in_thread
def test_call_that_a_grape_does_not_have_is_not_supported(open_link: Opened, fake: NewFake) -> None:
    link = open_link(fake().url)
    for call in (lambda: link.unannounce(NAME, 1337), link.status, lambda: link.read("/nodes")):
        with pytest.raises(NotSupportedError) as raised:
            call()
        assert raised.value.code == "ERR_REQ_NOTFOUND"


@in_thread
def test_withdrawal_and_status_of_a_grape_that_has_them(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    grape.scripts["/unannounce"] = lambda data: 1
    grape.scripts["/status"] = (200, b'{"version":"1"}')
    link = open_link(grape.url)
    assert link.unannounce(NAME, 1337) == 1
    assert grape.asked("/unannounce") == [[NAME, 1337]]
    assert link.status() == {"version": "1"}


@in_thread
def test_documents_of_a_grape_are_read(open_link: Opened, grape: Grape) -> None:
    link = open_link(url(grape))
    link.announce("a ✓ & b", 1337)
    assert link.status()["readiness"]["is_ready"] is True
    assert link.read("/services", {"name": "a ✓ & b"})["services"][0]["name"] == "a ✓ & b"
    assert link.read("/readyz") == {"status": "ready"}
    with pytest.raises(GrapeError, match="ERR_GRAPE_PARAMETER") as raised:
        link.read("/trace/lookup")
    assert raised.value.status == 400


def serving(grape: FakeGrape, *, withdraws: bool) -> None:
    grape.scripts["/announce"] = lambda data: 1
    if withdraws:
        grape.scripts["/unannounce"] = lambda data: 1


@pytest.mark.parametrize("withdraws", [True, False])
@in_thread
def test_announcing_repeats_and_withdraws_where_it_can(open_link: Opened, fake: NewFake, withdraws: bool) -> None:
    grape = fake()
    serving(grape, withdraws=withdraws)
    link = open_link(grape.url)
    with link.announcing(NAME, 1337, interval=0.02) as announcing:
        until(lambda: len(grape.asked("/announce")) >= 4)
        assert not announcing.is_failing
    assert grape.requests[-1] == ("/unannounce", [NAME, 1337])
    made = len(grape.requests)
    time.sleep(0.1)
    assert len(grape.requests) == made


@in_thread
def test_announcing_survives_a_restart_of_the_grape(open_link: Opened, fake: NewFake) -> None:
    first = fake()
    serving(first, withdraws=True)
    link = open_link(first.url, timeout=1)
    with link.announcing(NAME, 1337, interval=0.05) as announcing:
        first.scripts["/announce"] = (503, b'"ERR_GRAPE_NOT_RUNNING"')
        until(lambda: announcing.is_failing)
        serving(first, withdraws=True)
        until(lambda: not announcing.is_failing)


@in_thread
def test_announcing_fails_where_the_first_announce_fails(open_link: Opened, fake: NewFake) -> None:
    grape = fake()
    grape.scripts["/announce"] = (200, b'"No nodes to query"')
    with pytest.raises(GrapeError, match="No nodes to query"), open_link(grape.url).announcing(NAME, 1337):
        raise AssertionError("entered")
    assert grape.asked("/unannounce") == []


@in_thread
def test_put_that_another_grape_holds_already_succeeds(open_link: Opened, fake: NewFake) -> None:
    # A Node grape answers 302 for the identical item, too: another one stored it for a call whose answer was lost.
    grape = fake()
    grape.scripts["/put"] = (302, b'"302 sequence number less than current"')
    link, key = open_link(grape.url), new_private_key()
    grape.scripts["/get"] = lambda data: {"id": "00" * 20, "token": None, **grape.asked("/put")[0]}
    assert link.put_mutable(key, "words", seq=7) == sha1(public_key(key)).hexdigest()


@in_thread
def test_forged_item_is_no_answer(open_link: Opened, fake: NewFake) -> None:
    key = public_key(new_private_key())
    forged = {"v": "words", "k": key.hex(), "sig": "00" * 64, "seq": 1, "id": "00" * 20, "token": None}
    grape = fake()
    grape.scripts["/get"] = lambda data: forged
    link = open_link(grape.url)
    with pytest.raises(SignatureError, match="is not signed with the key"):
        link.get_mutable(key)
    # It is asked once: the grape works.
    assert len(grape.requests) == 1
