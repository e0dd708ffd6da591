"""Replays the recordings of the Node grape's HTTP API through treq in memory, at the mounted resource.

Status and body are the recorded ones, byte for byte, except for the rows of DEVIATIONS: each is one of the rows of
docs/http-api.md's list of differences. live/test_http_transport.py replays those that only raw bytes can say.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from grape import Grape
from grape.testing import MemoryNetwork
from tests.http_vectors import VECTORS, Step, Vector

HOST = "127.0.0.1"
PORTS = {"A": 21_001, "B": 21_002}
ANSWER_SECONDS = 10.0
# Ids and tokens differ from run to run.
VARYING = re.compile(r'"(id|token)":"[0-9a-f]+"')
# The vectors whose last steps build on another one's.
AFTER = {"announce-lookup/len21": "announce-lookup/len20"}

Body = Callable[[Vector, Step], str]


@attrs.frozen
class Ours:
    """An answer of ours that differs from the recorded one on purpose."""

    status: int
    body: Body
    why: str


def _said(code: str) -> Body:
    return lambda vector, step: f'"{code}"'


def _text(text: str) -> Body:
    return lambda vector, step: text


def _reads_as(value: str) -> Body:
    return lambda vector, step: step.expected.replace('"[object Object]"', value)


def _held(put: int = 0) -> Body:
    """The mutable item of an earlier put, as the grape that holds it gives it."""

    def body(vector: Vector, step: Step) -> str:
        data = vector.steps[put].data
        answer = {"id": "*", "token": None, "v": data["v"], "sig": data["sig"], "k": data["k"], "seq": data["seq"]}
        return json.dumps(answer, separators=(",", ":"))

    return body


def _fetched(put: int = 0) -> Body:
    """The mutable item of an earlier put, as a grape that has it from another one gives it."""

    def body(vector: Vector, step: Step) -> str:
        data = vector.steps[put].data
        answer = {"id": "*", "k": data["k"], "seq": data["seq"], "sig": data["sig"], "token": "*", "v": data["v"]}
        return json.dumps(answer, separators=(",", ":"))

    return body


def _rows(places: str, status: int, body: Body, why: str) -> dict[str, Ours]:
    """The same answer at several places, each a vector's name with ``#step`` unless that is the first."""
    return {place if "#" in place else f"{place}#0": Ours(status, body, why) for place in places.split()}


NO_JAVASCRIPT = "400 and a code of ours in place of a JavaScript exception's text"
PORT_RANGE = "a port out of range is refused at once, by every grape"
HASH_FORMAT = "a hash that is not 40 hex digits is refused"
EMPTY_NAME = "the empty name is refused each time"
SIZE = "a string has at most 999 bytes, anything else at most 1000 bencoded"
SHAPE = "lists and objects keep their shape"
FRACTIONS = "fractions cannot be stored"
FALSY = "zero is a value"
MUTABLE = "mutable items need no option"
ALONE = "a lone grape keeps what it is given"
NEWEST = "the newest item that the network has, and stale holders are repaired"
NO_DAMAGE = "what is stored is not changed by reading it"
BYTE_ORDER_MARK = "a byte order mark before the JSON is skipped (RFC 8259)"
CONTENT_ENCODING = "a body in a Content-Encoding is refused (RFC 9110)"

DEVIATIONS = {
    **_rows("body/null body/null-announce body/null-put body/null-get", 400, _said("ERR_GRAPE_PAYLOAD_INVALID"),
            NO_JAVASCRIPT),
    **_rows("body/bom", 200, _text("[]"), BYTE_ORDER_MARK),
    **_rows("body/gzip", 415, _text("ERR_GRAPE_PAYLOAD_ENCODING"), CONTENT_ENCODING),
    **_rows("body/data-missing-put body/number-put body/array-put put/null put/v-null mutable/sig-number "
            "mutable/sig-true mutable/k-number mutable/k-true mutable/k-object mutable/salt-number",
            400, _said("ERR_GRAPE_PUT"), NO_JAVASCRIPT),
    **_rows("body/data-missing-get body/number-get body/array-get get/null get/salt-true get/salt-object",
            400, _said("ERR_GRAPE_GET"), NO_JAVASCRIPT),
    **_rows("announce/key-null announce/key-number announce/key-empty-object announce/key-arraylike",
            400, _said("ERR_GRAPE_ANNOUNCE"), NO_JAVASCRIPT),
    **_rows("announce/port-1e9 announce-host/port-neg-after-lookup#1 announce-host/port-65536-after-lookup#1 "
            "announce-host/port-1e9-first-time", 200, _said("ERR_GRAPE_SERVICE_PORT"), PORT_RANGE),
    **_rows("announce-host/port-1e9-first-time#1", 200, _text("[]"), PORT_RANGE),
    **_rows("announce/key-empty announce-lookup/empty-name announce-lookup/empty-name-again "
            "announce-lookup/empty-name-again#2 announce-lookup/empty-name-again#4",
            200, _said("ERR_GRAPE_ANNOUNCE"), EMPTY_NAME),
    **_rows("get/not-hex-40 get/half-hex get/odd-hex get/short get/long-64 get/empty get/hash-empty get/hash-not-hex "
            "get/string-json-array get/string-json-bufferjson get/string-json-string get/string-number "
            "crash/get-empty-hash-object-twice crash/get-empty-hash-object-twice#2",
            200, _said("ERR_GRAPE_HASH_FORMAT"), HASH_FORMAT),
    **_rows("put/v-list-999 put/v-500-2byte-1000bytes put/v-501-2byte-1002bytes put/v-999-2byte put/v-big-object "
            "put-get/999-2byte", 200, _said("v must be less than 1000 bytes in put()"), SIZE),
    **_rows("put-get/999-2byte#1 put-get/999-2byte#2 put-get/999-2byte#3 put-get/999-2byte#4", 200, _text(""), SIZE),
    **_rows("put/v-object-length-2000", 200, _said("cc2c45f6b46dab89f0a2655707a0bf01c77e86ed"), SIZE),
    **_rows("put-get/object#1 put-get/object#2 put-get/object#3 put-get/object#4",
            200, _reads_as('{"a":"x","b":1}'), SHAPE),
    **_rows("put-get/bufferjson#1 put-get/bufferjson#2 put-get/bufferjson#3 put-get/bufferjson#4",
            200, _reads_as('{"data":[104,105],"type":"Buffer"}'), SHAPE),
    **_rows("put-get/null-member#1 put-get/null-member#2 put-get/null-member#3 put-get/null-member#4",
            200, _reads_as('{"b":1}'), SHAPE),
    **_rows("put-get/tostring-crash#1", 200, _text('{"id":"*","token":null,"v":{"toString":1}}'), SHAPE),
    **_rows("mutable/v-object#1", 200, _reads_as('{"a":1}'), SHAPE),
    **_rows("put/v-float put-get/float", 400, _said("ERR_GRAPE_PUT"), FRACTIONS),
    **_rows("put-get/float#1 put-get/float#2 put-get/float#3 put-get/float#4", 200, _text(""), FRACTIONS),
    **_rows("put/v-zero put-get/zero", 200, _said("a6488b97c65e2fc2befd4261f70ac5570c7a7e42"), FALSY),
    **_rows("put-get/zero#2", 200, _text('{"id":"*","token":null,"v":"0"}'), FALSY),
    **_rows("mutable-noverify/put", 200, _said("9ad19e0f16eef714cb90c6f195dbce66e94580f9"), MUTABLE),
    **_rows("mutable-noverify/put#1 mutable-mixed/put-through-node-without-verify#1 crash/get-verify-true#1 "
            "crash/get-verify-true#2", 200, _fetched(), MUTABLE),
    **_rows("mutable-noverify/put#2", 200, _held(), MUTABLE),
    **_rows("mutable/same-seq-same-value#1", 200, _said("b219a201c68a0f4bdcd8d6e46e53be4127c53bfb"),
            "the same item again refreshes it (BEP 44)"),
    **_rows("mutable/put-from-both#3", 200, _fetched(1), NEWEST),
    **_rows("mutable/put-from-both#4 mutable/put-from-both#5", 200, _held(1), NEWEST),
    **_rows("corruption/cache-false-on-storing-node#2 corruption/cache-false-on-storing-node#4",
            200, _held(), NO_DAMAGE),
    **_rows("corruption/cache-false-on-storing-node#3", 200, _fetched(), NO_DAMAGE),
    **_rows("announce-one/no-host announce-one/host", 200, _text("1"), ALONE),
    **_rows("announce-one/no-host#1", 200, _text('["127.0.0.1:1337"]'), ALONE),
    **_rows("put-get/one", 200, _said("189076a152ad53efbdbdcc0f030ef8c1bb3630c3"), ALONE),
    **_rows("mutable/one-isolated", 200, _said("4bc1b9fe6c1fb1f123ee872738a4cc2f57854e9e"), ALONE),
    **_rows("mutable/one-isolated#1", 200, _held(), ALONE),
}  # fmt: skip


class Setup:
    """The grapes of a recording's set-up, on an in-memory network, each asked through treq."""

    def __init__(self, setup: str, *, bootstrap: bool) -> None:
        self.network = MemoryNetwork(seed=1)
        self.grapes: dict[str, Grape] = {}
        for name in "A" if setup.startswith("one") else "AB":
            other = PORTS["B" if name == "A" else "A"]
            self.grapes[name] = grape = Grape(
                PORTS[name],
                [(HOST, other)] if bootstrap else [],
                host=HOST if "host" in setup else None,
                reactor=self.network.reactor(HOST),
                dice=random.Random(PORTS[name]),
            )
            grape.startService()
        for grape in self.grapes.values():
            self.network.result(grape.when_ready())
        self._clients: dict[str, Any] = {name: StubTreq(grape.resource()) for name, grape in self.grapes.items()}

    def ask(self, step: Step) -> tuple[int, str]:
        """Sends a step's request; returns the status and the body that come back, in virtual time."""
        client, clock = self._clients[step.target], self.network.clock

        async def request() -> tuple[int, str]:
            response = await client.request(
                step.method, f"http://{HOST}{step.path}", headers=step.headers, data=step.body, allow_redirects=False
            )
            body: bytes = await client.content(response)
            return response.code, body.decode()

        answers: list[tuple[int, str] | Failure] = []
        Deferred.fromCoroutine(request()).addBoth(answers.append)
        client.flush()
        end = clock.seconds() + ANSWER_SECONDS
        while not answers and clock.seconds() <= end and clock.step():
            client.flush()
        assert answers, "no answer"
        answer = answers[0]
        if isinstance(answer, Failure):
            answer.raiseException()
        return answer


def _masked(body: str, step: Step) -> str:
    return json.dumps(sorted(json.loads(body))) if step.in_any_order else VARYING.sub(r'"\1":"*"', body)


def _check_ids(setup: Setup, step: Step, body: str) -> None:
    """Asserts that a get names the node that answered: this one, without a token, or the other one, with its token."""
    got = json.loads(body) if step.path == "/get" and body.startswith("{") else None
    if got is not None:
        own = setup.grapes[step.target].stats().node_id
        assert got["id"] in [grape.stats().node_id for grape in setup.grapes.values()]
        assert (got["token"] is None) == (got["id"] == own)


def _steps(vector: Vector) -> list[tuple[str, Step]]:
    """Returns the steps with their places, without those for grape B where there is none."""
    return [
        (f"{vector.name}#{index}", step)
        for index, step in enumerate(vector.steps)
        if step.target == "A" or not vector.setup.startswith("one")
    ]


def _replay(vector: Vector, setup: Setup, deviations: dict[str, Ours]) -> None:
    for place, step in _steps(vector):
        status, body = setup.ask(step)
        ours = deviations.get(place)
        if ours is None:
            assert step.status is not None, f"{place}: the reference died here"
            expected = step.status, _masked(step.expected, step)
        else:
            expected = ours.status, _masked(ours.body(vector, step), step)
        assert (status, _masked(body, step)) == expected, f"{place}{f' ({ours.why})' if ours else ''}"
        _check_ids(setup, step, body)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_recorded_request_gets_the_recorded_answer(vector: Vector) -> None:
    setup = Setup(vector.setup, bootstrap=not vector.setup.startswith("one"))
    before = AFTER.get(vector.name)
    for earlier in VECTORS:
        if earlier.name == before:
            _replay(earlier, setup, DEVIATIONS)
    _replay(vector, setup, DEVIATIONS)


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.setup.startswith("one")], ids=str)
def test_grape_whose_bootstrap_nodes_are_gone_answers_as_recorded(vector: Vector) -> None:
    _replay(vector, Setup(vector.setup, bootstrap=True), {})


def test_deviation_names_a_step_whose_recorded_answer_differs() -> None:
    places = {place: (vector, step) for vector in VECTORS for place, step in _steps(vector)}
    for place, ours in DEVIATIONS.items():
        vector, step = places[place]
        recorded = step.status, _masked(step.expected, step)
        assert (ours.status, ours.body(vector, step)) != recorded, f"{place} is no deviation"
