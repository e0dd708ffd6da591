"""grape.cli.nodes and grape.cli.asking: status, nodes, and ping over UDP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from bencode2 import bdecode, bencode
from twisted.internet.task import Clock

from grape.cli.asking import ask, resolve
from grape.cli.nodes import software
from tests.cli.conftest import EXAMPLES, OneGrape, Run

NODE_ID = b"n" * 20
Answer = Callable[[dict[bytes, Any], socket.socket, tuple[str, int]], bytes | None]


class FakeNode:
    """Answers queries over UDP by ``answer``, which is given the query, the socket and the asker."""

    def __init__(self) -> None:
        self.answer: Answer = lambda query, node, asker: pong(query)
        self.queries: list[dict[bytes, Any]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.socket.getsockname()
        self.name = f"127.0.0.1:{self.address[1]}"
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", self.address)
        self._thread.join()
        self.socket.close()

    def _serve(self) -> None:
        while (received := self.socket.recvfrom(2_000))[0] != b"end":
            query = bdecode(received[0])
            self.queries.append(query)
            answer = self.answer(query, self.socket, received[1])
            if answer is not None:
                self.socket.sendto(answer, received[1])


def pong(query: dict[bytes, Any], **more: object) -> bytes:
    return bencode({"t": query[b"t"], "y": "r", "r": {"id": NODE_ID}, **more})


@pytest.fixture
def node() -> Iterator[FakeNode]:
    begun = FakeNode()
    yield begun
    begun.close()


def test_status_names_what_is_wrong_and_ends_with_1(run: Run, fake: OneGrape) -> None:
    ran = run("status")
    assert (ran.status, ran.err) == (0, "")
    told = dict(line.split(None, 1) for line in ran.out.splitlines())
    assert (told["status"], told["contacts"]) == ("ready", "2 good, 0 questionable")
    document = json.loads(EXAMPLES["/status"])
    checks = [{"name": "network", "state": "isolated", "text": "no other node answers"}]
    document["readiness"] |= {"is_ready": False, "status": "isolated", "checks": checks}
    document["state"] = None
    fake.scripts["/status"] = (503, json.dumps(document).encode())
    ran = run("status")
    assert ran.status == 1
    assert "isolated\n              network: no other node answers\n" in ran.out
    assert ran.out.endswith("state file    -\n")


def test_nodes_are_read_in_pages_up_to_the_limit(run: Run, fake: OneGrape) -> None:
    entry = json.loads(EXAMPLES["/nodes"])["nodes"][0]
    fake.scripts["/nodes"] = lambda data: {"nodes": [entry] * 1_000, "next": "5a", "total": 5_000}
    ran = run("nodes", "--limit", "2000", "--json")
    assert len(json.loads(ran.out)) == 2_000
    assert [path for path, _ in fake.requests] == ["/nodes?limit=1000", "/nodes?after=5a&limit=1000"]
    ran = run("nodes")
    assert (len(ran.out.splitlines()), ran.err) == (1_001, "grape: 1000 of 5000 contacts; --limit shows more\n")


def test_nodes_end_with_a_page_that_is_empty_whatever_it_promises(run: Run, fake: OneGrape) -> None:
    fake.scripts["/nodes"] = lambda data: {"nodes": [], "next": "5a", "total": 1}
    assert (run("nodes").status, len(fake.requests)) == (1, 1)


def test_ping_tells_who_answers_and_how_it_sees_us(run: Run, node: FakeNode) -> None:
    node.answer = lambda query, _, asker: pong(query, v=b"UT\x01\x02", ip=socket.inet_aton(asker[0]) + b"\x04\xd2")
    ran = run("ping", node.name)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{node.name}: answered after ")
    assert ran.out.endswith(f" ms, id {NODE_ID.hex()}, software UT0102, sees us as 127.0.0.1:1234\n")
    # Nobody may list a command that is gone in a moment.
    assert [(query[b"q"], query[b"ro"], query[b"a"][b"id"]) for query in node.queries] == [(b"ping", 1, b"")]
    told = json.loads(run("ping", node.name, "--json").out)
    assert [(one["answered"], one["problem"], one["seen_as"]) for one in told] == [(True, None, "127.0.0.1:1234")]


@pytest.mark.parametrize("is_silent", [True, False])
def test_ping_of_a_node_that_wants_an_id_is_answered(run: Run, node: FakeNode, is_silent: bool) -> None:
    refused: list[dict[bytes, Any]] = []

    def answer(query: dict[bytes, Any], socket: socket.socket, asker: tuple[str, int]) -> bytes | None:
        error = bencode({"t": query[b"t"], "y": "e", "e": [203, "no id"]})
        if not query[b"a"][b"id"]:
            refused.append(query)
            return None if is_silent else error
        # An error that is late does not hide the answer.
        socket.sendto(bencode({"t": refused[0][b"t"], "y": "e", "e": [203, "no id"]}), asker)
        return pong(query)

    node.answer = answer
    ran = run("ping", node.name, "--timeout", "0.4")
    assert (ran.status, [len(query[b"a"][b"id"]) for query in node.queries]) == (0, [0, 20])
    assert f"id {NODE_ID.hex()}" in ran.out


def test_ping_takes_no_answer_of_another_query_and_no_garbage(run: Run, node: FakeNode) -> None:
    def answer(query: dict[bytes, Any], socket: socket.socket, asker: tuple[str, int]) -> bytes:
        for datagram in (
            b"",
            b"x",
            b"de",
            b"le",
            pong({b"t": b"none"}),
            bencode({"t": query[b"t"], "y": "q", "q": "ping"}),
        ):
            socket.sendto(datagram, asker)
        return pong(query)

    node.answer = answer
    assert f"id {NODE_ID.hex()}" in run("ping", node.name).out


def test_ping_prints_the_error_that_a_node_answers(run: Run, node: FakeNode) -> None:
    node.answer = lambda query, _, asker: bencode({"t": query[b"t"], "y": "e", "e": [202, "Server\x1b Error"]})
    ran = run("ping", node.name)
    assert (ran.status, r"error 202 Server\x1b Error" in ran.out) == (0, True)


def test_ping_ends_with_1_if_one_answer_is_missing(run: Run, node: FakeNode) -> None:
    node.answer = lambda query, _, asker: None
    ran = run("ping", node.name, "--timeout", "0.1")
    assert (ran.status, ran.out) == (1, f"{node.name}: no answer within 0.1 s\n")
    told = json.loads(run("ping", node.name, "--timeout", "0.1", "--json").out)
    assert [(one["answered"], one["problem"], one["round_trip"]) for one in told] == [(False, "no answer", None)]


def test_ping_of_a_port_that_nobody_has_is_told_at_once(run: Run) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ran = run("ping", f"127.0.0.1:{port}", "--timeout", "60")
    assert (ran.status, ran.out) == (1, f"127.0.0.1:{port}: no process listens there (port unreachable)\n")


def test_ask_returns_the_values_of_the_answer(node: FakeNode) -> None:
    reply = ask(node.address, b"find_node", {b"target": NODE_ID})
    assert reply is not None
    assert (reply.node_id, reply.values, reply.version, reply.seen_as) == (NODE_ID, {b"id": NODE_ID}, None, None)
    assert node.queries[0][b"a"][b"target"] == NODE_ID


def test_ask_measures_from_before_the_query_is_sent(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(socket.socket):
        def send(self, *args: Any) -> int:
            sent = super().send(*args)
            clock.advance(0.25)
            return sent

    clock = Clock()
    monkeypatch.setattr("grape.cli.asking.time.monotonic", clock.seconds)
    monkeypatch.setattr("grape.cli.asking.socket.socket", Slow)
    reply = ask(node.address)
    assert reply is not None
    assert reply.seconds == 0.25


def test_resolve_takes_a_host_with_or_without_a_port() -> None:
    assert resolve("127.0.0.1") == [("127.0.0.1", 20_001)]
    assert ("127.0.0.1", 7) in resolve("localhost:7")
    for text in ("", ":1", "a:", "a:0", "a:65536", "a:b", "[::1]:1", "a..b"):
        with pytest.raises(ValueError, match=r"is not HOST:PORT|cannot be resolved to an IPv4 address"):
            resolve(text)


@pytest.mark.parametrize(
    ("version", "words"), [(None, None), (b"", "software "), (b"UT\1", "software UT01"), (b"\xff\xff", "software ffff")]
)
def test_software_is_shown_in_letters_that_can_be_printed(version: bytes | None, words: str | None) -> None:
    found = software(version)
    assert found == words or (words == "software ffff" and found is not None)
