"""grape.web.live_page: the page in a browser, its files, and who gets them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.web.resource import Resource

from grape import Grape
from grape.resource import GrapeResource
from grape.testing import MemoryNetwork
from grape.web.access import Access
from grape.web.live_page import DIRECTORY, FILES, INDEX, TYPES, LivePage, prefers_html
from grape.web.site import GrapeSite
from tests.web.helpers import LOCAL, PEER, SiteClient, TCPReactor, request

BROWSER = b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
LINKED = b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Browser:
    """A client of a grape's own resource, at the root of a site or below a path."""

    def __init__(self, network: MemoryNetwork, path: bytes = b"") -> None:
        grape = Grape(reactor=network.reactor("10.0.0.1"))
        grape.startService()
        resource: Any = grape.resource(Access())
        if path:
            root = Resource()
            root.putChild(path[1:], resource)
            resource = root
        self._path = path
        self._client = SiteClient(GrapeSite(resource, 8_192, TCPReactor(network)), PEER, LOCAL)

    def ask(
        self, target: bytes, headers: bytes = BROWSER, method: bytes = b"GET", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Returns status, headers and body of an answer."""
        self._client.send(request(body, self._path + target, headers, method))
        head, _, got = self._client.received().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in fields.items()}, got


@pytest.fixture(params=[b"", b"/grape"], ids=["root", "below a path"])
def browser(request: pytest.FixtureRequest, network: MemoryNetwork) -> Browser:
    return Browser(network, request.param)


# What is at "/"


def test_browser_gets_the_page(browser: Browser) -> None:
    status, headers, body = browser.ask(b"/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == (DIRECTORY / INDEX).read_bytes()
    assert "accept" in headers["vary"].lower()


@pytest.mark.parametrize("accept", [b"", b"Accept: */*\r\n", b"Accept: application/json\r\n"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_other_clients_get_the_answer_of_an_unknown_path(accept: bytes, method: bytes, browser: Browser) -> None:
    for target in (b"/", b"/nothing"):
        status, headers, body = browser.ask(target, accept, method, b'{"data":1}')
        assert (status, body) == (200, b"" if method == b"HEAD" else b'"ERR_REQ_NOTFOUND"')
        assert {name: value for name, value in headers.items() if name not in ("date", "server")} == {
            "content-type": "application/json",
            "content-length": "18",
        }


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("body", [b'{"data":1}', b"{", b"null", b""])
def test_other_methods_get_the_answer_of_an_unknown_path(method: bytes, body: bytes, browser: Browser) -> None:
    answers = [browser.ask(target, BROWSER, method, body) for target in (b"/", b"/nothing")]
    assert answers[0][0] == answers[1][0]
    assert answers[0][2] == answers[1][2]


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("text/html,*/*;q=0.8", True),
        ("text/html, application/json", True),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0.9, application/json;q=0.2", True),
        ("text/*", True),
        ("text/*;q=0.5, application/json", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=x, */*", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/json", False),
        (",;q=1,", False),
        ("", False),
    ],
)
def test_page_is_for_those_who_prefer_html(accept: str, preferred: bool) -> None:
    assert prefers_html(accept) is preferred


# Files


def test_every_file_of_the_page_is_served_with_its_type(browser: Browser) -> None:
    for name in FILES:
        status, headers, body = browser.ask(b"/page/" + name.encode(), b"Accept: */*\r\n")
        assert status == 200
        assert headers["content-type"] == TYPES[name.rpartition(".")[2]].decode()
        assert body == (DIRECTORY / name).read_bytes()


def test_files_of_the_page_are_counted_as_one_route() -> None:
    assert [route.counted for route in LivePage.route] == ["/"] + ["/page"] * len(FILES)


def test_every_file_is_listed_and_every_file_that_a_file_names() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == {INDEX, *FILES}
    named = set()
    for path in DIRECTORY.iterdir():
        text = path.read_text()
        named |= set(re.findall(r'(?:src|href)="page/([^"]+)"', text) + re.findall(r'from "\./([^"]+)"', text))
    assert named == set(FILES)


@pytest.mark.parametrize("target", [b"/page", b"/page/", b"/page/index.html", b"/page/../live_page.py", b"/page/x.js"])
def test_what_is_no_file_of_the_page_is_unknown(target: bytes, browser: Browser) -> None:
    assert browser.ask(target, body=b'{"data":1}')[2] == b'"ERR_REQ_NOTFOUND"'


@pytest.mark.parametrize("target", [b"/", b"/page/main.js"])
def test_file_is_sent_again_only_if_it_has_changed(target: bytes, browser: Browser) -> None:
    _, headers, _ = browser.ask(target)
    assert headers["cache-control"] == "no-cache"
    tag = headers["etag"].encode()
    for known in (tag, b'"other", W/' + tag):
        status, headers, body = browser.ask(target, BROWSER + b"If-None-Match: " + known + b"\r\n")
        assert (status, body, headers["etag"].encode()) == (304, b"", tag)
    assert browser.ask(target, BROWSER + b'If-None-Match: "other"\r\n')[0] == 200


@pytest.mark.parametrize("target", [b"/", b"/page/main.js", b"/page/page.css", b"/page/icon.svg"])
def test_page_loads_nothing_of_others_and_is_framed_by_nobody(target: bytes, browser: Browser) -> None:
    _, headers, _ = browser.ask(target)
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_page_has_no_inline_script_style_or_handler_and_no_other_host() -> None:
    html = (DIRECTORY / INDEX).read_text()
    assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son[a-z]+=", html)
    for name in (INDEX, *FILES):
        text = (DIRECTORY / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://[a-z0-9]|//[a-z0-9.-]+\.[a-z]{2,}/", text), name


def test_page_never_makes_html_of_text_and_asks_for_nothing_but_reading() -> None:
    for name in FILES:
        text = (DIRECTORY / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )
        assert not re.search(r"method:|sendBeacon|XMLHttpRequest|WebSocket", text), name


# Who gets it


def test_link_of_another_site_opens_the_page(browser: Browser) -> None:
    assert browser.ask(b"/", BROWSER + LINKED)[0] == 200
    assert browser.ask(b"/", BROWSER + LINKED.replace(b"cross-site", b"same-site"))[0] == 200


@pytest.mark.parametrize("target", [b"/status", b"/events", b"/page/main.js", b"/nodes", b"/trace/lookup?name=a"])
def test_link_of_another_site_opens_nothing_else(target: bytes, browser: Browser) -> None:
    assert browser.ask(target, BROWSER + LINKED)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        LINKED.replace(b"document", b"iframe"),
        LINKED.replace(b"document", b"object"),
        LINKED.replace(b"navigate", b"no-cors"),
        LINKED.replace(b"navigate", b"cors").replace(b"document", b"empty"),
        b"Sec-Fetch-Site: cross-site\r\n",
        LINKED + b"Origin: http://evil.example\r\n",
        b"Origin: http://evil.example\r\n",
    ],
)
def test_other_requests_of_another_site_are_refused(headers: bytes, browser: Browser) -> None:
    assert browser.ask(b"/", BROWSER + headers)[0] == 403


def test_page_under_a_foreign_name_is_refused() -> None:
    headers = {b"host": b"evil.example", b"sec-fetch-site": b"cross-site"}
    refusal = Access().refusal(b"GET", headers, "127.0.0.1", may_be_linked=True)
    assert refusal is not None
    assert refusal.status == 403


def test_page_needs_the_right_to_inspect() -> None:
    rights = {route.right.value for route in GrapeResource.route if route.path == "/" or route.path.startswith("/page")}
    assert rights == {"inspect"}
