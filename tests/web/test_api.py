"""grape.web.api: from requests to answers, over a node that records what it was called with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from grape import Grape
from grape.dht.items import Item
from grape.encoding import Value
from grape.errors import GrapeError
from grape.node.items import Got
from grape.testing import MemoryNetwork, make_grapes
from grape.web.answer import EMPTY, FAULT, NOT_FOUND, OVERLOADED, PAYLOAD_ENCODED, PAYLOAD_INVALID, RETRY, Answer
from grape.web.api import Api
from grape.web.body import parse
from grape.web.request import CALLS, Fields, Request

# In which an announce or a put ends that nobody waits for.
UNATTENDED_SECONDS = 2.3

PATHS = [call.path for call in CALLS]
HASH = "00112233445566778899aabbccddeeff00112233"
KEY, SIGNATURE = bytes(range(32)), bytes(range(64))
ID, TOKEN = b"\x01" * 20, b"\x02" * 8

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["v", "k", "sig", "seq", "salt", "cas", "hash", "cache", "verify", "type", "data", "length"])
BUFFER = st.fixed_dictionaries({"type": st.just("Buffer"), "data": JSON})
# Data that the calls accept, or nearly accept.
DATA = (
    JSON
    | st.dictionaries(NAMES, JSON | BUFFER | JSON.map(json.dumps) | st.just(KEY.hex()))
    | st.tuples(JSON | BUFFER, JSON).map(list)
)


@attrs.define
class FakeCalls:
    """Records what it was called with, and answers what it is told to."""

    calls: list[tuple[Any, ...]] = attrs.Factory(list)
    got: Got | None = None
    error: Exception | None = None

    def _answer(self, result: Any, *call: Any) -> Deferred[Any]:
        self.calls.append(call)
        return succeed(result) if self.error is None else fail(self.error)

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Deferred[Any]:
        return self._answer(["127.0.0.1:1337"], name).addBoth(done)

    def begin_announce(
        self, name: str | bytes, port: int, done: Callable[[int | Failure], object], ttl: float | None = None
    ) -> Deferred[Any]:
        return self._answer(1, name, port, *(() if ttl is None else (ttl,))).addBoth(done)

    def begin_unannounce(self, name: str | bytes, port: int, done: Callable[[int | Failure], object]) -> Deferred[Any]:
        return self._answer(2, "un", name, port).addBoth(done)

    def for_asker(self, peers: list[str], asker: str | None, came_to: str | None) -> list[str]:
        self.calls.append((peers, asker, came_to))
        return peers

    def put(
        self,
        value: Value,
        *,
        key: bytes | None = None,
        signature: bytes | None = None,
        seq: int | None = None,
        salt: bytes = b"",
        cas: int | None = None,
    ) -> Deferred[str]:
        return self._answer(HASH, value, key, signature, seq, salt, cas)

    def get(self, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Deferred[Got | None]:
        return self._answer(self.got, hash, salt, cache)


def fired(deferred: Deferred[Answer]) -> Answer:
    answers: list[Answer] = []
    deferred.addCallback(answers.append)
    (answer,) = answers
    return answer


def post(target: bytes | str, body: bytes | object, headers: Fields | None = None) -> Request:
    """Returns a request with that body, or with that ``data`` in its body."""
    target = target.encode() if isinstance(target, str) else target
    body = body if isinstance(body, bytes) else json.dumps({"rid": "x", "data": body}).encode()
    return Request(b"POST", target, headers or {}, "127.0.0.1", body)


def call(path: str, data: object, calls: FakeCalls | None = None) -> Answer:
    return fired(Api(calls or FakeCalls()).call(post(path, data)))


def only_call(calls: FakeCalls) -> tuple[Any, ...]:
    (only,) = calls.calls
    return only


def octets(data: bytes) -> dict[str, object]:
    return {"type": "Buffer", "data": list(data)}


# Bodies

ENVELOPES = JSON.map(json.dumps).map(str.encode) | DATA.map(lambda data: json.dumps({"data": data}).encode())


@given(st.sampled_from(PATHS).map(str.encode) | st.binary(), st.binary() | ENVELOPES)
def test_any_bytes_at_any_target_get_an_answer(path: bytes, body: bytes) -> None:
    assert isinstance(fired(Api(FakeCalls()).call(post(path, body))), Answer)


@pytest.fixture(scope="module")
def network() -> MemoryNetwork:
    return MemoryNetwork(seed=1)


@pytest.fixture(scope="module")
def lone(network: MemoryNetwork) -> Grape:
    grape = Grape(reactor=network.reactor("127.0.0.1"))
    grape.startService()
    network.result(grape.when_ready())
    return grape


@settings(deadline=None)
@given(path=st.sampled_from(PATHS), data=DATA)
def test_any_json_gets_an_answer_from_a_node(path: str, data: object, network: MemoryNetwork, lone: Grape) -> None:
    answer = network.result(Api(lone.node).call(post(path, json.dumps({"data": data}).encode())))
    assert answer.status in (200, 301, 302, 400)
    assert answer == EMPTY or json.loads(answer.body) is not None


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"9007199254740993", 2**53 + 1), (b"12345678901234567890", 1.2345678901234567e19), (b"9" * 8_000, math.inf)],
)
def test_long_numbers_are_doubles_as_in_javascript(text: bytes, number: float) -> None:
    assert parse(text) == number
    assert type(parse(text)) is type(number)


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"NaN", b"[Infinity]", b"{}x", BOM, BOM * 2 + b"{}", b" " + BOM + b"{}", b"[" * 8_000]
)
def test_body_that_is_no_json_is_refused(body: bytes) -> None:
    assert fired(Api(FakeCalls()).call(post("/lookup", body))) == PAYLOAD_INVALID


@pytest.mark.parametrize("body", [b'{"data":"a"}', b' {"data":"a"} '])
def test_byte_order_mark_before_the_json_is_skipped(body: bytes) -> None:
    calls = FakeCalls()
    fired(Api(calls).call(post("/lookup", BOM + body)))
    assert only_call(calls) == ("a",)


@pytest.mark.parametrize("encoding", [b"gzip", b"identity, gzip", b"br", b"x"])
@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_body_in_a_content_encoding_is_refused(path: str, encoding: bytes) -> None:
    calls = FakeCalls()
    refused = fired(Api(calls).call(post(path, "a", {b"content-encoding": encoding})))
    assert refused == PAYLOAD_ENCODED
    assert (b"Accept-Encoding", b"identity") in refused.headers
    assert not calls.calls


@pytest.mark.parametrize("encoding", [b"identity", b"Identity", b"", b"identity, identity"])
def test_identity_is_no_content_encoding(encoding: bytes) -> None:
    calls = FakeCalls()
    fired(Api(calls).call(post("/lookup", "a", {b"content-encoding": encoding})))
    assert only_call(calls) == ("a",)


@pytest.mark.parametrize(
    "target", [b"", b"/", b"/Lookup", b"/lookup/", b"//lookup", b"/lookup?", b"lookup", b"*", b"/look%75p"]
)
def test_target_is_taken_literally(target: bytes) -> None:
    assert fired(Api(FakeCalls()).call(post(target, "a"))) == NOT_FOUND


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    calls = FakeCalls()
    fired(Api(calls).call(post("/lookup", b'{"data":"a\xffb"}')))
    assert only_call(calls) == ("a\ufffdb",)


# What the calls get


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("rest:util:net", "rest:util:net"),
        ([118, 101, 99], b"vec"),
        (octets(b"\xff\x00"), b"\xff\x00"),
        ([256 + 97, -1], b"a\xff"),
    ],
)
def test_service_name_is_text_or_bytes(name: object, taken: str | bytes) -> None:
    calls = FakeCalls()
    assert call("/announce", [name, 1337, "more"], calls) == Answer(200, b"1")
    assert only_call(calls) == (taken, 1337)


@pytest.mark.parametrize("name", [None, 5, True, {}, {"length": 3}, ["97"], [1.5], {"type": "Buffer", "data": "vec"}])
def test_service_name_of_another_type_is_refused(name: object) -> None:
    calls = FakeCalls()
    assert call("/announce", [name, 1337], calls) == Answer(400, b'"ERR_GRAPE_ANNOUNCE"')
    assert not calls.calls


@pytest.mark.parametrize("port", [-1, 65_536, 1.5, "1337", None, True, [1337], 1e300])
def test_port_that_is_no_whole_number_of_16_bits_is_refused(port: object) -> None:
    assert call("/announce", ["a", port]) == Answer(200, b'"ERR_GRAPE_SERVICE_PORT"')


@pytest.mark.parametrize("port", [0, -0.0, 1, 1337.0, 65_535])
def test_port_may_be_written_as_a_float(port: float) -> None:
    calls = FakeCalls()
    call("/announce", ["a", port], calls)
    assert only_call(calls) == ("a", int(port))


BUFFERS = {
    "hex": lambda data: data.hex(),
    "upper hex": lambda data: data.hex().upper(),
    "array": list,
    "Buffer": octets,
    "text of an array": lambda data: json.dumps(list(data)),
    "text of a Buffer": lambda data: json.dumps(octets(data)),
    "text of hex": lambda data: json.dumps(data.hex()),
    "hex, then junk": lambda data: data.hex() + "zz00",
}


@pytest.mark.parametrize("form", BUFFERS.values(), ids=BUFFERS)
def test_keys_and_signatures_come_in_many_forms(form: Any) -> None:
    calls = FakeCalls()
    data = {"v": "hello", "k": form(KEY), "sig": form(SIGNATURE), "seq": 1.0, "cas": -2}
    assert call("/put", data, calls) == Answer(200, f'"{HASH}"'.encode())
    assert only_call(calls) == ("hello", KEY, SIGNATURE, 1, b"", -2)


@pytest.mark.parametrize(
    ("salt", "taken"),
    [
        ("abc", b"abc"),
        ('"abc"', b"abc"),
        ("[97,98,99]", b"abc"),
        ([97, 98, 99], b"abc"),
        (octets(b"abc"), b"abc"),
        (json.dumps(octets(b"abc")), b"abc"),
        ("12345", b"12345"),
        ("{}", b"{}"),
        ("é", "é".encode()),
        ("", b""),
        (None, b""),
    ],
)
def test_salt_is_text_or_bytes(salt: object, taken: bytes) -> None:
    putting, getting = FakeCalls(), FakeCalls()
    call("/put", {"v": "hello", "k": KEY.hex(), "sig": SIGNATURE.hex(), "seq": 1, "salt": salt}, putting)
    call("/get", {"hash": HASH, "salt": salt}, getting)
    assert only_call(putting)[4] == taken
    assert only_call(getting)[1] == taken


@pytest.mark.parametrize("member", ["k", "sig", "salt"])
@pytest.mark.parametrize("value", [5, True, {}, [1.5], ["97"], {"type": "Buffer"}])
def test_buffer_of_a_wrong_type_is_refused(member: str, value: object) -> None:
    data = {"v": "hello", "k": KEY.hex(), "sig": SIGNATURE.hex(), "seq": 1, member: value}
    assert call("/put", data) == Answer(400, b'"ERR_GRAPE_PUT"')


@pytest.mark.parametrize("key", [None, "", False, 0])
def test_put_without_a_key_ignores_the_parts_of_a_mutable_item(key: object) -> None:
    calls = FakeCalls()
    call("/put", {"v": "hello", "k": key, "sig": 5, "seq": "x", "salt": 5, "cas": "x"}, calls)
    assert only_call(calls) == ("hello", None, None, None, b"", None)


def test_get_ignores_unknown_options() -> None:
    calls = FakeCalls()
    call("/get", {"hash": HASH, "cache": "no", "verify": True}, calls)
    assert only_call(calls) == (HASH, b"", None)


# Answers


def found(item: Item, *, local: bool, salt: str = "") -> bytes:
    calls = FakeCalls(got=Got(item, ID, None if local else TOKEN, local))
    return call("/get", {"hash": HASH, "salt": salt}, calls).body


IMMUTABLE = Item(b"5:hello")
MUTABLE = Item(b"d1:al1:xe1:bi1ee", KEY, SIGNATURE, 3, b"s")


def test_item_has_its_members_in_the_node_grapes_order() -> None:
    key, signature = KEY.hex(), SIGNATURE.hex()
    start = f'{{"id":"{ID.hex()}",'
    value = '"v":{"a":["x"],"b":1}'
    assert found(IMMUTABLE, local=True).decode() == start + '"token":null,"v":"hello"}'
    assert found(IMMUTABLE, local=False).decode() == start + f'"token":"{TOKEN.hex()}","v":"hello"}}'
    assert found(MUTABLE, local=True, salt="s").decode() == (
        start + f'"token":null,{value},"sig":"{signature}","k":"{key}","seq":3}}'
    )
    assert found(MUTABLE, local=False, salt="s").decode() == (
        start + f'"k":"{key}","seq":3,"sig":"{signature}","token":"{TOKEN.hex()}",{value},"salt":"s"}}'
    )


def test_token_that_was_not_given_is_left_out() -> None:
    answer = call("/get", HASH, FakeCalls(got=Got(IMMUTABLE, ID, None, local=False)))
    assert list(json.loads(answer.body)) == ["id", "v"]


def test_item_that_is_not_found_is_an_empty_body() -> None:
    assert call("/get", HASH) == EMPTY


def test_item_that_is_nested_too_deep_is_an_error_and_no_fault() -> None:
    raw = b"l" * 499 + b"e" * 499
    answer = call("/get", HASH, FakeCalls(got=Got(Item(raw), ID, TOKEN, local=False)))
    assert answer == Answer(200, b'"ERR_GRAPE_GENERIC"')


def test_calls_over_the_limit_are_refused() -> None:
    network = MemoryNetwork()
    api = Api(make_grapes(network, 2)[0].node, max_calls=1)
    first, second = (api.call(post("/lookup", "a")) for _ in range(2))
    assert fired(second) == OVERLOADED
    assert (api.counters.overloads, api.under_way) == (1, 1)
    assert network.result(first) == Answer(200, b"[]")


def test_error_of_status_503_asks_the_client_to_come_again() -> None:
    answer = call("/lookup", "a", FakeCalls(error=GrapeError("ERR_GRAPE_NOT_RUNNING", 503)))
    assert answer == Answer(503, b'"ERR_GRAPE_NOT_RUNNING"', headers=RETRY)


@pytest.mark.parametrize("path", PATHS)
def test_error_of_grenache_is_answered_by_its_code_and_status(path: str) -> None:
    data = {"/announce": ["a", 1], "/unannounce": ["a", 1], "/put": "x"}.get(path, "a")
    answer = call(path, data, FakeCalls(error=GrapeError("302 says no", 302)))
    assert answer == Answer(302, b'"302 says no"')


def test_fault_is_logged_and_its_text_not_shown(logged_failures: list[LogEvent]) -> None:
    assert call("/lookup", "a", FakeCalls(error=RuntimeError("secret"))) == FAULT
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_call_that_cannot_begin_is_a_fault(logged_failures: list[LogEvent]) -> None:
    api = Api(None)  # type: ignore[arg-type]
    assert fired(api.call(post("/lookup", "a"))) == FAULT
    assert api.under_way == 0
    assert len(logged_failures) == 1
    logged_failures.clear()


@pytest.mark.parametrize(
    ("path", "data"),
    [("/lookup", "a"), ("/announce", ["a", 1]), ("/unannounce", ["a", 1]), ("/put", "a"), ("/get", HASH)],
)
def test_answer_that_cannot_be_made_is_a_fault(path: str, data: object, logged_failures: list[LogEvent]) -> None:
    class Senseless(FakeCalls):
        def _answer(self, result: Any, *call: Any) -> Deferred[Any]:
            return succeed(object())

    api = Api(Senseless())
    assert fired(api.call(post(path, data))) == FAULT
    assert api.under_way == 0
    assert len(logged_failures) == 1
    logged_failures.clear()
