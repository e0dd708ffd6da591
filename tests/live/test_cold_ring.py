"""A ring of three that starts cold, all at once and one by one: systemd hears of each, and who is ready when.

One by one there are PAUSE_SECONDS between two starts: more than the three seconds after which READY is said without a
join. ``COLD_RING_PAUSE=30`` takes another pause.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import attrs
import pytest

from grape.daemon.supervised import JOIN_SECONDS
from tests.live.conftest import Start
from tests.live.processes import COMMANDS, HOST, Api, Process, new_api, until
from tests.live.systemd import NotifySocket

PAUSE_SECONDS = float(os.environ.get("COLD_RING_PAUSE", JOIN_SECONDS + 1))
ISOLATED = 503, {"status": "isolated", "problems": ["isolated"]}
READY = 200, {"status": "ready"}
BOTH = pytest.mark.parametrize("command", ["grape", "twistd -n grape"])


@attrs.frozen
class Member:
    """A grape of the ring: how it is started, and what it tells systemd."""

    api: Api
    systemd: NotifySocket
    flags: list[str]
    command: str

    def begin(self, start: Start) -> Process:
        """Starts it; returns at once."""
        return start(
            [*COMMANDS[self.command], *self.flags], {"NOTIFY_SOCKET": self.systemd.path}, stdin=subprocess.DEVNULL
        )

    def readyz(self) -> tuple[int, object]:
        """Returns status and body of a health check."""
        try:
            with urllib.request.urlopen(f"{self.api.url}/readyz", timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError as error:
            return 0, str(error)

    def is_ready(self) -> bool:
        """Returns True if work may be given to it."""
        return self.readyz() == READY


@pytest.fixture
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Member]]:
    """Three grapes that are to join through each other, not started yet; the parameter is how."""
    apis = [new_api() for _ in range(3)]
    with ExitStack() as stack:
        members = []
        for number, api in enumerate(apis):
            folder = tmp_path / str(number)
            folder.mkdir()
            nodes = ",".join(other.node for other in apis if other != api)
            flags = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST, "--bn", nodes]
            systemd = stack.enter_context(NotifySocket(folder))
            members.append(Member(api, systemd, flags, request.node.callspec.params["command"]))
        yield members


def said_ready(member: Member) -> bool:
    return member.systemd.first_lines == ["READY=1"]


def takes_announces(member: Member) -> bool:
    return bool(member.api.call("announce", ["whole", member.api.api_port]) == 2)


def assert_whole(ring: list[Member]) -> None:
    """Each is ready, and what is announced at one is found at all; READY was said once by each."""
    for member in ring:
        until("readiness", member.is_ready)
        until("the ring", partial(takes_announces, member))
        for other in ring:
            assert f"{HOST}:{member.api.api_port}" in other.api.call("lookup", "whole")
    assert all(map(said_ready, ring))


@BOTH
def test_ring_that_starts_cold_at_once_is_ready(start: Start, ring: list[Member], command: str) -> None:
    processes = [member.begin(start) for member in ring]
    for member, process in zip(ring, processes, strict=True):
        process.wait_for("READY", partial(said_ready, member))
        process.wait_for("readiness", member.is_ready)
    assert_whole(ring)


@BOTH
def test_ring_that_starts_cold_one_by_one_is_ready_once_two_are_up(
    start: Start, ring: list[Member], command: str
) -> None:
    first, second, third = ring
    process = first.begin(start)
    # It waits for nobody with READY, and says that it should get no work yet.
    process.wait_for("READY", lambda: said_ready(first))
    process.wait_for("isolation", lambda: first.readyz() == ISOLATED)
    time.sleep(PAUSE_SECONDS)
    assert first.readyz() == ISOLATED
    assert process.status is None
    second.begin(start)
    for member in (first, second):
        until("readiness of two", member.is_ready)
        until("READY", partial(said_ready, member))
    time.sleep(PAUSE_SECONDS)
    assert first.is_ready()
    assert second.is_ready()
    third.begin(start)
    until("READY", lambda: said_ready(third))
    assert_whole(ring)
    assert process.status is None
