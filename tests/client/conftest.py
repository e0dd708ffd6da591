"""Provides links of each style, scripted grapes, and a real grape in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from grape import Grape
from tests.client.fake import FakeGrape
from tests.client.styles import STYLES, Opened

NewFake = Callable[..., FakeGrape]


@pytest_twisted.async_yield_fixture(params=STYLES)  # type: ignore[untyped-decorator]
async def open_link(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    """Opens links of the style, as ``Waiting``."""
    opened = Opened(request.param)
    yield opened
    await deferToThread(opened.close)


@pytest.fixture
def fake() -> Iterator[NewFake]:
    """Starts scripted grapes."""
    started: list[FakeGrape] = []

    def start(port: int = 0) -> FakeGrape:
        started.append(FakeGrape(port))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest_twisted.async_yield_fixture()  # type: ignore[untyped-decorator]
async def grape() -> AsyncIterator[Grape]:
    """Runs a grape with an HTTP API that is the only one of its network."""
    running = Grape(dht_port=0, api_port=0, host="127.0.0.1")
    running.startService()
    await running.when_ready()
    yield running
    await maybeDeferred(running.stopService)
