"""What a grape's process loads, by Python's own report of it: not what it may never need, and that when it does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

HOST = "127.0.0.1"
SECONDS = 20.0
SITE = {"klein", "werkzeug", "twisted.web.server", "twisted.web.http"}
SIGNATURES = {"cryptography"}
NEVER = {"treq", "twisted.internet._sslverify", "twisted.web.client", "grape.cli.state"}
# Of RFC 8032.
KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


class Loading:
    """A grape that tells what it loads."""

    def __init__(self, state: Path) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "grape", "-b", HOST, "--dp", "0", "--aph", "0"]
        self.process = subprocess.Popen(
            [*command, "--state", str(state)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.loaded: set[str] = set()
        said = next(filter(None, (re.search(r"HTTP API listening on [^:]+:(\d+)", line) for line in self._lines())))
        self.port = int(said[1])

    def call(self, path: str, data: object) -> object:
        """What a call answers."""
        connection = HTTPConnection(HOST, self.port, timeout=SECONDS)
        connection.request("POST", path, json.dumps({"data": data}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def end(self) -> set[str]:
        """End it well, and see all that it loaded."""
        self.process.terminate()
        assert self.process.wait(SECONDS) == 0
        list(self._lines())
        return self.loaded

    def _lines(self) -> Iterator[str]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("import time:"):
                self.loaded.add(line.rpartition("|")[2].strip())
            yield line


@pytest.fixture
def grape(tmp_path: Path) -> Iterator[Loading]:
    loading = Loading(tmp_path / "state")
    yield loading
    loading.process.kill()
    loading.process.communicate()


def test_an_idle_grape_has_loaded_no_site_no_signatures_and_no_tls(grape: Loading) -> None:
    assert grape.call("/announce", ["rest:util:net", 1337]) == 1
    assert grape.call("/lookup", "rest:util:net") == [f"{HOST}:1337"]
    loaded = grape.end()
    assert "grape.web.server" in loaded
    assert not loaded & (SITE | SIGNATURES | NEVER)


def test_the_first_other_request_loads_the_site_and_is_answered(grape: Loading) -> None:
    assert grape.call("/nothing", None) == "ERR_REQ_NOTFOUND"
    assert grape.call("/nothing/either", None) == "ERR_REQ_NOTFOUND"
    loaded = grape.end()
    assert loaded >= SITE
    assert not loaded & (SIGNATURES | NEVER)


def test_the_first_signature_loads_what_verifies_it(grape: Loading) -> None:
    item = {"v": "words", "k": KEY, "sig": "00" * 64, "seq": 1}
    assert grape.call("/put", item) == "All queries failed"
    loaded = grape.end()
    assert loaded >= SIGNATURES
    assert not loaded & (SITE | NEVER)


def test_a_program_that_embeds_a_grape_keeps_its_tls() -> None:
    program = "from grape import Grape; from twisted.internet.ssl import supported; print(supported)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")
