"""Serves the page as a grape does, with events that are made, faster than a grape tells them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self

from gauntlet.machine import HOST
from gauntlet.page.network import Event
from grape.web.answer import JSON_TYPE
from grape.web.live_page import DIRECTORY, INDEX, SECURITY, TYPES

POLL_SECONDS = 0.05
# There are none but those that the page is told of.
NO_SERVICES: Mapping[str, object] = {"services": [], "next": None, "total": 0}


class PageServer:
    """Serves the page, until ``close`` or the end of the ``with`` block.

    ``events()`` makes what the page is told, ``pause`` are seconds between them. ``answers`` are those to what it asks
    for, by the last part of the path.
    """

    def __init__(
        self,
        events: Callable[[], Iterable[list[Event]]],
        pause: float,
        answers: Mapping[str, object] | None = None,
    ) -> None:
        #: How often a page was told something.
        self.told = 0
        self._answers = {"services": NO_SERVICES, **(answers or {})}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self._answer(handler)

            def log_message(handler, *words: object) -> None:
                pass

        self._events, self._pause = events, pause
        self._is_open = True
        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.server_port}/"

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
            is_asked = name in self._answers
            body = json.dumps(self._answers[name]).encode() if is_asked else (DIRECTORY / name).read_bytes()
            handler.wfile.write(body)
            return
        try:
            for events in self._events():
                for event, told in events:
                    handler.wfile.write(f"event: {event}\ndata: {json.dumps(told)}\n\n".encode())
                self.told += 1
                time.sleep(self._pause)
                if not self._is_open:
                    return
            while self._is_open:
                time.sleep(POLL_SECONDS)
        except OSError:
            # The page has closed its stream.
            return
