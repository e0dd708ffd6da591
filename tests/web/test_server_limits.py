"""grape.web.server: limits that change while connections are open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.helpers import LIMIT, MAX_CONNECTIONS, PER_HOST, Server, answers, open_clients, request


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_lower_limit_closes_idle_connections_the_longest_unused_first(server: Server) -> None:
    waiting = [server.waiting() for _ in range(3)]
    idle = [server.served() for _ in range(5)]
    server.factory.set_limits(LIMIT, 5, PER_HOST)
    assert open_clients(idle) == [3, 4]
    assert open_clients(waiting) == [0, 1, 2]
    assert server.turned_away == (3, 0)


def test_lower_limit_lets_calls_end_before_it_closes_their_connections(server: Server) -> None:
    waiting = [server.waiting() for _ in range(3)]
    server.factory.set_limits(LIMIT, 1, PER_HOST)
    assert len(open_clients(waiting)) == 3
    for index in range(3):
        server.answer(index, b"[]")
    assert [answers(client.value()) for client in waiting] == [[(200, b"[]")]] * 3
    assert len(open_clients(waiting)) == 1


def test_lower_limit_of_one_host_is_not_for_loopback(server: Server) -> None:
    here = [server.served() for _ in range(3)]
    there = [server.served("10.0.0.1") for _ in range(3)]
    server.factory.set_limits(LIMIT, MAX_CONNECTIONS, 2)
    assert (open_clients(here), open_clients(there)) == ([0, 1, 2], [1, 2])
    assert server.connect("10.0.0.1").ended == ""
    assert open_clients(there) == [2]


def test_payload_limit_is_new_for_the_next_request_of_a_known_head(server: Server) -> None:
    client = server.connect()
    for _ in range(2):
        client.send(request(b"x" * 50))
        server.answer(-1, b"[]")
    server.factory.set_limits(40, MAX_CONNECTIONS, PER_HOST)
    client.send(request(b"x" * 50))
    assert answers(client.value())[-1][0] == 413
