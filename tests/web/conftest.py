"""Fixtures of the HTTP tests: a server with its clients, in memory and on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.helpers import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose API waits for the test to answer; its clients are gone after the test."""
    server = Server()
    yield server
    server.close()
