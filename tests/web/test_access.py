"""grape.web.access: which requests may reach the API, and what a refused one is told."""

from __future__ import annotations

import pytest

from grape.web.access import Access, Advice, flag_advice, keyword_advice
from grape.web.answer import PREFLIGHT

LOOPBACK, NETWORK = "127.0.0.1", "192.168.7.7"

# Host, Origin, method, the address the connection came to (None: a unix socket), and whether it is served.
MATRIX = [
    ("127.0.0.1:30001", None, "POST", LOOPBACK, True),
    ("localhost:30001", None, "POST", LOOPBACK, True),
    ("LOCALHOST", None, "POST", LOOPBACK, True),
    ("[::1]:30001", None, "POST", "::1", True),
    ("127.9.8.7:30001", None, "POST", "::ffff:127.0.0.1", True),
    (None, None, "POST", LOOPBACK, True),
    ("evil.example", None, "POST", LOOPBACK, False),
    ("evil.example:30001", None, "POST", LOOPBACK, False),
    ("127.0.0.1.evil.com", None, "POST", LOOPBACK, False),
    ("localhost.evil.com", None, "POST", LOOPBACK, False),
    ("127.0.0.1@evil.com", None, "POST", LOOPBACK, False),
    ("127.0.0.1, evil.com", None, "POST", LOOPBACK, False),
    ("", None, "POST", LOOPBACK, False),
    ("192.168.7.7:30001", None, "POST", LOOPBACK, False),
    ("127.0.0.1:30001", "http://evil.example", "POST", LOOPBACK, False),
    ("127.0.0.1:30001", "null", "POST", LOOPBACK, False),
    ("127.0.0.1:30001", "http://127.0.0.1:30002", "POST", LOOPBACK, False),
    ("127.0.0.1:30001", "http://127.0.0.1:30001", "POST", LOOPBACK, True),
    ("evil.example:30001", "http://evil.example:30001", "POST", LOOPBACK, False),
    ("grape-1:30001", None, "POST", NETWORK, True),
    ("grape-1:30001", "http://evil.example", "POST", NETWORK, False),
    ("grape-1:30001", "http://evil.example", "OPTIONS", NETWORK, False),
    ("evil.example", None, "GET", NETWORK, False),
    ("192.168.7.7:30001", None, "GET", NETWORK, True),
    ("this-machine:30001", None, "GET", NETWORK, True),
    ("127.0.0.1:30001", "https://app.example", "POST", LOOPBACK, False),
    ("localhost", None, "GET", None, True),
    ("grape-1", None, "POST", None, True),
    (None, None, "GET", None, True),
    ("evil.example", None, "GET", None, False),
    ("grape-1", "http://evil.example", "POST", None, False),
]


def refused(access: Access, host: str | None, origin: str | None, method: str, local: str | None) -> bytes | None:
    headers = {b"host": host, b"origin": origin}
    given = {name: value.encode() for name, value in headers.items() if value is not None}
    answer = access.refusal(method.encode(), given, local)
    return answer.body if answer is not None else None


@pytest.mark.parametrize(("host", "origin", "method", "local", "served"), MATRIX)
def test_access_is_given_by_host_and_origin(
    host: str | None, origin: str | None, method: str, local: str | None, served: bool
) -> None:
    body = refused(Access(own_name="this-machine"), host, origin, method, local)
    assert (body is None) == served


@pytest.mark.parametrize(
    ("advice", "host", "origin"),
    [
        (flag_advice, "add --allow-host a.example", "add --allow-origin http://a.example"),
        (
            keyword_advice,
            "add allow_host='a.example' to Grape(...)",
            "add allow_origin='http://a.example' to Grape(...)",
        ),
    ],
)
def test_refusal_names_the_setting_that_would_allow_the_request(advice: Advice, host: str, origin: str) -> None:
    access = Access(advice=advice)
    for name in ("a.example", "a.example:30001", "A.Example:30001"):
        assert refused(access, name, None, "POST", LOOPBACK) == f"ERR_GRAPE_HOST: {host}\n".encode()
    body = refused(access, "127.0.0.1", "http://a.example", "POST", LOOPBACK)
    assert body == f"ERR_GRAPE_ORIGIN: {origin}\n".encode()


def test_refusal_of_a_malformed_host_shows_it_as_it_came() -> None:
    assert refused(Access(), "a b:1", None, "POST", LOOPBACK) == b"ERR_GRAPE_HOST: add --allow-host a b:1\n"


def test_allowed_hosts_and_origins_are_served() -> None:
    access = Access(["https://app.example/"], ["grape.local"])
    assert refused(access, "grape.local:30001", "https://app.example", "POST", LOOPBACK) is None
    assert access.cors({b"origin": b"https://other.example"}) == ()


def test_preflight_of_an_allowed_origin_is_answered() -> None:
    access = Access(["https://app.example"], ["grape.local"])
    headers = {b"origin": b"https://app.example", b"access-control-request-method": b"POST"}
    answer, cors = access.judge(b"OPTIONS", headers, LOOPBACK)
    assert answer is PREFLIGHT
    assert (b"Access-Control-Allow-Origin", b"https://app.example") in cors
    assert access.judge(b"POST", headers, LOOPBACK) == (None, access.cors(headers))
    refusal, cors = access.judge(b"OPTIONS", {**headers, b"host": b"evil.example"}, LOOPBACK)
    assert refusal is not None
    assert (refusal.status, cors) == (403, ())


def test_public_page_may_call_a_private_address_if_its_origin_is_allowed() -> None:
    access = Access(["https://app.example"])
    asked = {b"origin": b"https://app.example", b"access-control-request-method": b"POST"}
    allowed = (b"Access-Control-Allow-Private-Network", b"true")
    assert allowed not in access.preflight(b"OPTIONS", asked)
    asked[b"access-control-request-private-network"] = b"true"
    assert allowed in access.preflight(b"OPTIONS", asked)
    asked[b"origin"] = b"https://other.example"
    assert access.preflight(b"OPTIONS", asked) == ()


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_request_of_another_site_by_its_fetch_metadata_is_refused(site: bytes) -> None:
    assert Access().refusal(b"POST", {b"host": b"localhost", b"sec-fetch-site": site}, LOOPBACK) is not None
    assert Access().refusal(b"POST", {b"host": b"localhost", b"sec-fetch-site": b"same-origin"}, LOOPBACK) is None
