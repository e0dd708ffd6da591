"""Drives a headless Chromium, and serves the page with events that a test makes, faster than a grape does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from threading import Thread
from typing import Any

from grape.web.answer import JSON_TYPE
from grape.web.live_page import DIRECTORY, INDEX, SECURITY, TYPES
from tests.live.conftest import unavailable

POLL_SECONDS = 0.05
SECONDS = 15.0
# It holds none but those that it tells the page of.
NO_SERVICES = b'{"services": [], "next": null, "total": 0}'
Event = tuple[str, object]


class Browser:
    """A Chromium with one page; ``node`` is the directory of the programs for Node.js."""

    def __init__(self, node: Path) -> None:
        chromium = which("chromium") or which("chromium-browser") or which("google-chrome")
        if chromium is None:
            unavailable("Chromium is missing; Debian: apt install chromium")
        command = ["node", str(node / "browser.js"), chromium]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, name: str, **arguments: object) -> Any:
        """Returns what a command of browser.js returns. Raises AssertionError with its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert "error" not in told, told["error"]
        return told["value"]

    def open(self, url: str, *, scheme: str = "light", width: int = 1_280, height: int = 900) -> None:
        """Opens a page in a new window, and waits until the grape has told something."""
        assert self.do("open", url=url, scheme=scheme, width=width, height=height) == 200
        self.until("document.querySelector('#state').dataset.state !== 'waiting'")

    def value(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        return self.do("value", script=script)

    def text(self, selector: str) -> str:
        """Returns the text that is shown in an element."""
        text: str = self.value(f"document.querySelector({json.dumps(selector)}).innerText")
        return text

    def until(self, script: str, seconds: float = SECONDS) -> None:
        """Waits until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"{script} is not true after {seconds} s: {self.text('body')[:2000]}"
            time.sleep(POLL_SECONDS)

    def until_text(self, selector: str, text: str, seconds: float = SECONDS) -> None:
        """Waits until an element shows a text."""
        shown = f"document.querySelector({json.dumps(selector)}).innerText"
        self.until(f"{shown}.includes({json.dumps(text)})", seconds)

    def press(self, *keys: str) -> None:
        """Presses keys."""
        self.do("press", keys=keys)

    def close(self) -> None:
        """Ends the browser."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class PageServer:
    """Serves the page as a grape does, but ``events()`` makes what it is told; ``pause`` are seconds between them."""

    def __init__(self, events: Callable[[], Iterable[list[Event]]], pause: float) -> None:
        self.told = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self._answer(handler)

            def log_message(handler, *words: object) -> None:
                pass

        self._events, self._pause = events, pause
        self._is_open = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """Serves no more."""
        self._is_open = False
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2].partition("?")[0] or INDEX
        is_stream = name == "events"
        handler.send_response(200)
        kind = b"text/event-stream" if is_stream else TYPES.get(name.rpartition(".")[2], JSON_TYPE)
        for field, value in ((b"Content-Type", kind), *SECURITY):
            handler.send_header(field.decode(), value.decode())
        handler.end_headers()
        if not is_stream:
            handler.wfile.write(NO_SERVICES if name == "services" else (DIRECTORY / name).read_bytes())
            return
        try:
            for events in self._events():
                for event, told in events:
                    handler.wfile.write(f"event: {event}\ndata: {json.dumps(told)}\n\n".encode())
                self.told += 1
                time.sleep(self._pause)
            while self._is_open:
                time.sleep(POLL_SECONDS)
        except OSError:
            sys.stdout.write("the page has closed its stream\n")
