"""The modules that a grape loads, by Python's own report: what it may never need is loaded when it is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha1
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest

import grape as grape_package
from grape.web.site_modules import SITE_MODULES
from tests.web.helpers import answers, request

PACKAGE = Path(grape_package.__file__).parent
HOST = "127.0.0.1"
SECONDS = 20.0
# Some modules of the site, which nothing else loads.
SITE = {
    "klein._app",
    "werkzeug.exceptions",
    "twisted.web.server",
    "twisted.web.http",
    "grape.resource",
    "grape.web.site",
}
SIGNATURES = {"cryptography"}
# Loaded with the site, if at all: together they would take a twentieth of the start.
AFTER_THE_START = {
    "email",
    "email.utils",
    "http.client",
    "http.cookiejar",
    "importlib.resources",
    "urllib.request",
    "grape.daemon.activation",
    "grape.daemon.supervised",
    "grape.daemon.runner_log",
    "grape.node.status",
    "grape.settings.file",
    "grape.systemd",
}
NEVER = {"treq", "twisted.internet._sslverify", "twisted.web.client", "grape.cli.state"}
# Of RFC 8032.
KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
# Of every kind that the site answers.
REQUESTS = [
    request(b'{"data":1}', b"/nothing"),
    request(b"x", b"/nothing"),
    request(b"x" * 9_000, b"/nothing"),
    request(b"", b"/", method=b"GET"),
    request(b"", b"/", b"Accept: text/html\r\n", b"GET"),
    request(b"", b"/page/page.css", b"Accept: */*\r\n", b"GET"),
    request(b"", b"/nothing", method=b"HEAD"),
    request(b"", b"*", method=b"OPTIONS"),
    request(b"", b"/nothing", b"Cookie: a=b\r\nIf-None-Match: x\r\nRange: bytes=0-1\r\n", b"GET", b"1.0"),
    request(path=b"/%ff"),
    request(path=b"http://localhost/nothing"),
    request(path=b"/nothing", headers=b"Origin: http://evil.example\r\n"),
    request(path=b"/nothing", headers=b"Content-Encoding: gzip\r\n"),
    request(path=b"/nothing", headers=b"Content-Type: multipart/form-data; boundary=x\r\n"),
    request(path=b"/nothing", headers=b"Content-Type: application/x-www-form-urlencoded\r\n"),
]

EVENTS = request(b"", b"/events", method=b"GET")


class Loading:
    """A grape whose loaded modules are known, in their order."""

    def __init__(self, directory: Path, package: Path) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "grape", "-b", HOST, "--dp", "0", "--aph", "0"]
        self.process = subprocess.Popen(
            [*command, "--state", ":memory:"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(package.parent)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.loaded: list[str] = []
        self._lines: list[str] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self._wait_for(r"HTTP API listening on [^:]+:(\d+)")[1])

    def wait_until_loaded(self, name: str) -> None:
        """Waits until a module is loaded."""
        self._wait_for(rf"import time:.*\| +{re.escape(name)}$")

    def call(self, path: str, data: object) -> object:
        """Returns the answer to a call."""
        connection = HTTPConnection(HOST, self.port, timeout=SECONDS)
        connection.request("POST", path, json.dumps({"data": data}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def exchange(self, sent: bytes) -> list[tuple[int, bytes]]:
        """Returns the answers to bytes on a connection."""
        return answers(self.received(sent))

    def received(self, sent: bytes) -> bytes:
        """Returns the first bytes that come back on a connection for bytes."""
        with socket.create_connection((HOST, self.port), SECONDS) as connection:
            connection.sendall(sent)
            return connection.recv(65_536)

    def end(self) -> list[str]:
        """Stops the grape, and returns all that it loaded."""
        self.process.terminate()
        assert self.process.wait(SECONDS) == 0
        self._reader.join(SECONDS)
        return self.loaded

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("import time:"):
                self.loaded.append(line.rpartition("|")[2].strip())
            self._lines.append(line.rstrip("\n"))

    def _wait_for(self, pattern: str) -> re.Match[str]:
        end, at = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            while at < len(self._lines):
                found = re.search(pattern, self._lines[at])
                at += 1
                if found:
                    return found
            time.sleep(0.01)
        raise AssertionError(f"{pattern} did not come")


@pytest.fixture
def grape(tmp_path: Path) -> Iterator[Loading]:
    yield from running(tmp_path, PACKAGE)


@pytest.fixture
def copied_grape(tmp_path: Path) -> Iterator[tuple[Loading, Path]]:
    """A grape that runs from a copy of the package, and the folder of the copy."""
    copy = tmp_path / "site" / "grape"
    shutil.copytree(PACKAGE, copy)
    for loading in running(tmp_path, copy):
        yield loading, copy


def running(directory: Path, package: Path) -> Iterator[Loading]:
    loading = Loading(directory, package)
    yield loading
    loading.process.kill()
    loading.process.wait()


def test_site_is_loaded_after_the_start_and_no_signatures_and_no_tls(grape: Loading) -> None:
    assert grape.call("/announce", ["rest:util:net", 1337]) == 1
    assert grape.call("/lookup", "rest:util:net") == [f"{HOST}:1337"]
    grape.wait_until_loaded("grape.resource")
    loaded = grape.end()
    # The grape listened, and had joined, before the first of them.
    assert loaded.index("grape.web.server") < min(map(loaded.index, SITE))
    assert not set(loaded[: loaded.index(SITE_MODULES[0])]) & AFTER_THE_START
    # Of the libraries' modules .ci/site-modules knows more.
    assert {name for name in SITE_MODULES if name.startswith("grape.")} <= set(loaded)
    assert not set(loaded) & (SIGNATURES | NEVER)


def test_requests_load_nothing_once_the_site_is_loaded(grape: Loading) -> None:
    grape.wait_until_loaded("grape.resource")
    assert grape.call("/lookup", "rest:util:net") == []
    before = list(grape.loaded)
    for sent in REQUESTS:
        assert len(grape.exchange(sent)) == 1, sent
    assert b"event: snapshot" in grape.received(EVENTS)
    assert grape.end()[len(before) :] == []


def test_grape_whose_package_is_gone_serves_on(copied_grape: tuple[Loading, Path]) -> None:
    grape, package = copied_grape
    grape.wait_until_loaded("grape.resource")
    assert grape.call("/lookup", "rest:util:net") == []
    shutil.rmtree(package)
    assert grape.call("/announce", ["rest:util:net", 1337]) == 1
    assert grape.call("/put", "words") == sha1(b"5:words").hexdigest()
    for sent in REQUESTS:
        assert len(grape.exchange(sent)) == 1, sent
    assert b"event: snapshot" in grape.received(EVENTS)
    grape.end()


def test_request_that_comes_before_the_site_is_loaded_is_answered(grape: Loading) -> None:
    assert grape.call("/nothing", None) == "ERR_REQ_NOTFOUND"
    assert grape.call("/nothing/either", None) == "ERR_REQ_NOTFOUND"
    loaded = set(grape.end())
    assert loaded >= SITE
    assert not loaded & (SIGNATURES | NEVER)


def test_first_signature_loads_the_module_that_verifies_it(grape: Loading) -> None:
    item = {"v": "words", "k": KEY, "sig": "00" * 64, "seq": 1}
    assert grape.call("/put", item) == "All queries failed"
    loaded = set(grape.end())
    assert loaded >= SIGNATURES
    assert not loaded & NEVER


def test_program_that_embeds_a_grape_keeps_its_tls() -> None:
    program = "from grape import Grape; from twisted.internet.ssl import supported; print(supported)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")


def test_http_cookiejar_is_loaded_at_its_first_use() -> None:
    program = (
        "import sys; from grape.cli.run import load_less; load_less(); from twisted.python.compat import cookielib; "
        "print('http.cookiejar' in sys.modules, cookielib.CookieJar.__module__); "
        "from http import cookiejar; print(cookiejar.CookieJar is cookielib.CookieJar)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "False http.cookiejar\nTrue\n", "")


def test_importing_a_grape_loads_no_site() -> None:
    program = "import sys, grape.service; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert not set(ran.stdout.split()) & SITE
