"""Runs scripted grapes on loopback: what each path answers, or that nothing is answered, is set by the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

# A status and a body; or a function of the request's data that returns a JSON value, answered with status 200.
Script = tuple[int, bytes] | Callable[[Any], Any]


class FakeGrape:
    """Answers the paths in ``scripts``, any other as a Node grape does; lists the requests as ``(path, data)``.

    While ``hanging`` is set it answers nothing.
    """

    def __init__(self, port: int = 0) -> None:
        self.scripts: dict[str, Script] = {}
        self.requests: list[tuple[str, Any]] = []
        self.hanging = Event()
        self.headers: list[dict[str, str]] = []
        self._released = Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                data = json.loads(body)["data"] if body else None
                fake.requests.append((self.path, data))
                fake.headers.append(dict(self.headers))
                if fake.hanging.is_set():
                    fake._released.wait(30)
                    self.close_connection = True
                    return
                status, answer = fake.answer(self.path, data, bool(body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Prints nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, path: str, data: Any, has_body: bool) -> tuple[int, bytes]:
        """Returns the status and the body of the answer to a request."""
        script = self.scripts.get(path)
        if script is None:
            return (200, b'"ERR_REQ_NOTFOUND"') if has_body else (500, b"ERR_GRAPE_PAYLOAD_INVALID")
        return (200, json.dumps(script(data)).encode()) if callable(script) else script

    def asked(self, path: str) -> list[Any]:
        """Returns the data of the requests to a path."""
        return [data for asked, data in self.requests if asked == path]

    def close(self) -> None:
        """Ends it."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
