"""Provides a scripted grape with all calls and documents, and runs commands against it, here or as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha1
from typing import Any

import attrs
import pytest
from bencode2 import bencode

from grape.cli.run import main
from grape.client import mutable_hash
from grape.resource import routes
from tests.client.fake import FakeGrape

SECONDS = 30.0
PEER = "10.0.0.3:1337"
#: The examples that the routes by GET declare.
EXAMPLES: Mapping[str, str] = {route.path: route.example for route in routes() if route.example}


@attrs.frozen
class Ran:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


class OneGrape(FakeGrape):
    """A scripted grape with every call; a script is for a path with any query."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.items: dict[str, Any] = {}
        self.scripts = {
            "/lookup": lambda name: [PEER] if name == "rest:util:net" else [],
            "/announce": lambda data: 1,
            "/unannounce": lambda data: 1,
            "/put": self._put,
            "/get": lambda data: self.items.get(data if isinstance(data, str) else data["hash"]),
            **{path: (200, example.encode()) for path, example in EXAMPLES.items()},
        }

    def answer(self, path: str, data: Any, has_body: bool) -> tuple[int, bytes]:
        return super().answer(path.partition("?")[0], data, has_body)

    def become_a_node_grape(self) -> None:
        """Leaves only what the reference has."""
        self.scripts = {path: self.scripts[path] for path in ("/lookup", "/announce", "/put", "/get")}

    def _put(self, data: Any) -> str:
        key = bytes.fromhex(data.get("k", ""))
        salt = bytes(data["salt"]["data"]) if "salt" in data else b""
        hash = mutable_hash(key, salt) if key else sha1(bencode(data["v"])).hexdigest()
        self.items[hash] = {**data, "id": "00" * 20}
        return hash


@pytest.fixture
def fake() -> Iterator[OneGrape]:
    """Starts a scripted grape."""
    started = OneGrape()
    yield started
    started.close()


@pytest.fixture
def run(fake: OneGrape, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``grape`` with some words in this process, the grape to ask in GRAPE_URL."""
    monkeypatch.setenv("GRAPE_URL", fake.url)

    def begin(*words: str) -> Ran:
        stdout = sys.stdout
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as raised:
                main(words)
        finally:
            sys.stdout = stdout
        out, err = capfd.readouterr()
        assert isinstance(raised.value.code, int)
        return Ran(raised.value.code, out, err)

    return begin


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of a process: none of the developer's colours, widths and settings."""
    plain = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**plain, "TERM": "xterm", **more}


def process(*words: str, url: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``grape`` with some words as a process of its own."""
    command = [sys.executable, "-m", "grape", *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    given = options.pop("environment", {})
    if url:
        given = {"GRAPE_URL": url, **given}
    return subprocess.run(command, text=True, timeout=SECONDS, check=False, env=environment(**given), **options)
