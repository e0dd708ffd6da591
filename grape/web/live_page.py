"""Declares the live page: at "/" for browsers, with its scripts and styles below "/page/".

The files are read when this module is loaded, once for all grapes of a process, and served from memory: a running grape
must not depend on the files of its package, which an upgrade may replace. Their names are in the code of the page
without a version, so a browser asks each time whether one has changed (ETag).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from grape.web.answer import Answer, Headers
from grape.web.request import Request, Right, Route
from grape.web.routes import Routes

#: Where the files are.
DIRECTORY = Path(__file__).parent / "page"
INDEX = "index.html"
TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}
#: The files below "/page/".
FILES = (
    *("page.css", "widgets.css", "icon.svg", "main.js", "stream.js", "model.js", "format.js", "dom.js", "header.js"),
    *("contacts.js", "services.js", "peers.js", "pager.js", "rates.js", "chart.js", "limits.js", "lookup.js"),
    *("times.js", "trace.js"),
)

# Scripts, styles, pictures and requests of the grape itself and nothing else, and no frame around it.
SECURITY: Headers = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)


class LivePage:
    """The routes of the page; ``grape.resource`` mounts it. ``otherwise`` answers requests at "/" that want no page."""

    route: ClassVar[Routes[LivePage]] = Routes()

    def __init__(self, otherwise: Callable[[Request], Awaitable[Answer]]) -> None:
        self._otherwise = otherwise

    @route.get("/", "Shows the grape in a browser.", Right.INSPECT, may_be_linked=True, is_described=False)
    def index(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answers with the page if the request prefers HTML; else as any unknown path is answered."""
        if not prefers_html(request.headers.get(b"accept", b"").decode("latin-1")):
            return self._otherwise(request)
        return _unless_known(_ANSWERS[INDEX], request, ((b"Vary", b"Accept"),))

    @route(
        *(Route(f"/page/{name}", ("GET",), "A file of the page.", Right.INSPECT, is_described=False) for name in FILES)
    )
    def file(self, request: Request) -> Answer:
        """Answers with a file of the page."""
        return _unless_known(_ANSWERS[request.path.rpartition("/")[2]], request)


def prefers_html(accept: str) -> bool:
    """Returns True if a value of the header Accept (RFC 9110, 12.5.1) names HTML, or likes it better than JSON."""
    html, is_named = _quality(accept, "text/html")
    json, _ = _quality(accept, "application/json")
    return html > 0 and (html > json or (html == json and is_named))


def _quality(accept: str, media_type: str) -> tuple[float, bool]:
    """Returns the quality of a media type, by the most specific range that has it; True if it is named itself."""
    found, specificity = 0.0, 0
    ranges = ("*/*", media_type.partition("/")[0] + "/*", media_type)
    for part in accept.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        if name in ranges and ranges.index(name) + 1 >= specificity:
            specificity = ranges.index(name) + 1
            quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
            try:
                found = min(max(float(quality), 0.0), 1.0)
            except ValueError:
                found = 0.0
    return found, specificity == len(ranges)


def _read(name: str) -> Answer:
    body = (DIRECTORY / name).read_bytes()
    tag = b'"%b"' % sha256(body).hexdigest()[:32].encode()
    caching = ((b"Cache-Control", b"no-cache"), (b"ETag", tag))
    return Answer(200, body, TYPES[name.rpartition(".")[2]], (*caching, *SECURITY))


def _unless_known(file: Answer, request: Request, headers: Headers = ()) -> Answer:
    """Returns a file, or that it has not changed since the client has got it."""
    known = request.headers.get(b"if-none-match", b"")
    tag = dict(file.headers)[b"ETag"]
    is_known = tag in (one.strip().removeprefix(b"W/") for one in known.split(b","))
    return Answer(
        304 if is_known else 200, b"" if is_known else file.body, file.content_type, (*headers, *file.headers)
    )


_ANSWERS = {name: _read(name) for name in (INDEX, *FILES)}
