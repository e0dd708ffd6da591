"""The browser matrix: which requests may reach the API."""

from __future__ import annotations

import pytest

from grape.web.access import Access

LOOPBACK, NETWORK = "127.0.0.1", "192.168.7.7"

# Host, Origin, method, the address the connection came to, and whether it may.
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
]


def refused(access: Access, host: str | None, origin: str | None, method: str, local: str) -> bytes | None:
    headers = {b"host": host, b"origin": origin}
    given = {name: value.encode() for name, value in headers.items() if value is not None}
    answer = access.refusal(method.encode(), given, local)
    return answer.body if answer is not None else None


@pytest.mark.parametrize(("host", "origin", "method", "local", "may"), MATRIX)
def test_the_matrix(host: str | None, origin: str | None, method: str, local: str, may: bool) -> None:
    body = refused(Access(own_name="this-machine"), host, origin, method, local)
    assert (body is None) == may


def test_a_refusal_names_the_flag_that_would_allow_it() -> None:
    access = Access()
    assert refused(access, "evil.example", None, "POST", LOOPBACK) == b"ERR_GRAPE_HOST: add --allow-host evil.example\n"
    origin = refused(access, "127.0.0.1", "http://a.example", "POST", LOOPBACK)
    assert origin == b"ERR_GRAPE_ORIGIN: add --allow-origin http://a.example\n"


def test_what_is_allowed_is_allowed() -> None:
    access = Access(["https://app.example/"], ["grape.local"])
    assert refused(access, "grape.local:30001", "https://app.example", "POST", LOOPBACK) is None
    headers = {b"origin": b"https://app.example", b"access-control-request-method": b"POST"}
    preflight = access.preflight(b"OPTIONS", headers)
    assert preflight is not None
    assert (b"Access-Control-Allow-Origin", b"https://app.example") in preflight
    assert access.cors({b"origin": b"https://other.example"}) == []


def test_a_public_page_may_call_a_private_address_if_its_origin_is_allowed() -> None:
    access = Access(["https://app.example"])
    asked = {b"origin": b"https://app.example", b"access-control-request-method": b"POST"}
    allowed = (b"Access-Control-Allow-Private-Network", b"true")
    assert allowed not in (access.preflight(b"OPTIONS", asked) or [])
    asked[b"access-control-request-private-network"] = b"true"
    assert allowed in (access.preflight(b"OPTIONS", asked) or [])
    asked[b"origin"] = b"https://other.example"
    assert access.preflight(b"OPTIONS", asked) is None


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_fetch_metadata_of_another_site_is_refused(site: bytes) -> None:
    assert Access().refusal(b"POST", {b"host": b"localhost", b"sec-fetch-site": site}, LOOPBACK) is not None
    assert Access().refusal(b"POST", {b"host": b"localhost", b"sec-fetch-site": b"same-origin"}, LOOPBACK) is None
