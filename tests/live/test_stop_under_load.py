"""TERM under load: the process ends in time, and no call that was sent is answered falsely.

What was answered as announced or put is found through the other grapes afterwards.
"""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1

import pytest

from gauntlet.client import Client, ClientError
from tests.live.conftest import StartGrape
from tests.live.processes import HOST, Api, new_api, until

every_command = pytest.mark.parametrize("command", ["grape", "twistd -n grape", "twist grape"])
CALLERS = 24
END_SECONDS = 2.0
STOPPING = 503, b'"ERR_GRAPE_NOT_RUNNING"'
HELD = f'["{HOST}:7"]'.encode()
# Of the announces and puts of each caller that were answered, the last ones: those around the signal.
CHECKED = 10


class Caller:
    """Makes calls over a connection of its own until the grape closes or refuses it; notes how each went."""

    def __init__(self, api: Api, number: int) -> None:
        self._api = api
        self._number = number
        self.right = 0
        self.refused = 0
        self.false: list[object] = []
        self.announced: deque[str] = deque(maxlen=CHECKED)
        self.put: deque[tuple[str, str]] = deque(maxlen=CHECKED)

    def run(self) -> None:
        """Makes calls; ends once the port is closed."""
        calls = 0
        while True:
            try:
                with Client(self._api.api_port) as client:
                    while True:
                        calls += 1
                        self._call(client, f"{self._number} {calls}", calls % 3)
            except ConnectionRefusedError:
                return
            except (OSError, ClientError):
                # Closed without an answer.
                self.refused += 1

    def _call(self, client: Client, text: str, kind: int) -> None:
        path, data = (("lookup", "held"), ("announce", [text, 7]), ("put", text))[kind]
        reply = client.post(f"/{path}", json.dumps({"data": data}).encode())
        answer = reply.status, reply.body
        value = text.encode()
        hash = sha1(b"%d:%b" % (len(value), value)).hexdigest()
        # Of the two others one may have confirmed an announce when the time for it was over.
        if answer in [(200, body) for body in ((HELD,), (b"1", b"2"), (f'"{hash}"'.encode(),))[kind]]:
            self.right += 1
            if kind == 1:
                self.announced.append(text)
            elif kind == 2:
                self.put.append((hash, text))
        elif answer == STOPPING:
            self.refused += 1
        else:
            self.false.append((path, *answer))


@every_command
def test_term_under_load_ends_the_process_in_time_and_no_call_is_answered_falsely(
    grape_process: StartGrape, command: str
) -> None:
    apis = [new_api() for _ in range(3)]
    ring = [
        grape_process("--bn", ",".join(other.node for other in apis if other != api), api=api, command=command)
        for api in apis
    ]
    until("the ring", lambda: ring[1].call("announce", ["held", 7]) == 2)
    grape = ring[0]
    callers = [Caller(grape.api, number) for number in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        ends = [pool.submit(caller.run) for caller in callers]
        until("load", lambda: min(caller.right for caller in callers) > 30)
        began = time.monotonic()
        grape.process.signal(signal.SIGTERM)
        status = grape.process.ended()
        took = time.monotonic() - began
        for end in ends:
            end.result()
    assert [false for caller in callers for false in caller.false] == []
    for caller in callers:
        for text in caller.announced:
            assert ring[1].call("lookup", text) == [f"{HOST}:7"]
        for hash, text in caller.put:
            assert ring[2].call("get", hash)["v"] == text
    assert took < END_SECONDS
    assert status == (0 if command == "grape" else -signal.SIGTERM)
    assert "Traceback" not in grape.process.output
