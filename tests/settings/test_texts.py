"""grape.settings.texts: numbers, host names, addresses and origins."""

from __future__ import annotations

from typing import Any

import pytest

from grape.settings.texts import (
    MAX_SHOWN_CHARACTERS,
    Unfit,
    advertised,
    ascii_name,
    bind_host,
    bind_host_ipv4,
    file_name,
    header_host,
    ipv4_of,
    node_address,
    origin,
    shown,
    whole,
)

NAMES = ["a", "localhost", "app.example", "a_b.c-d", "x.", "127.0.0.1", "1e100.net", "a" * 63, "0x7f.example"]
NO_NAMES = ["", " ", "*", "*.example", "bad host!", "a b", "a/b", "a,b", "a@b", "a..b", ".a", "-a", "a-", "a" * 64]
NO_NAMES += [
    "1.2.3",
    "300.1.1.1",
    "1.2.3.4.5",
    "12345",
    "a:1",
    "[::1]",
    "::1",
    "a\n",
    "a\0",
    "\ud800",
    "a." * 127 + "b",
]
NO_ORIGINS = ["", "*", "null", "app.example", "app.example:80", "//a", "https://", "https://*", "https://*.example"]
NO_ORIGINS += ["https:/a", "https://a/path", "https://a?x", "https://a#x", "https://u@a", "https://a:0", "https://a:x"]
NO_ORIGINS += ["https://a:65536", "https://a b", "https://[::1", "https://[a]", "https://::1", "https://300.1.1.1"]
NO_ORIGINS += ["1ttp://a", "https://a\n"]
IPV6 = ["::", "::1", "fd00::1", "fe80::1%eth0", "::ffff:127.0.0.1"]


@pytest.mark.parametrize(
    ("text", "number"), [("20001", 20_001), ("020001", 20_001), ("0x52d1", 21_201), ("0X10", 16), ("-1", -1), ("0", 0)]
)
def test_whole_reads_decimal_and_hexadecimal_numbers(text: str, number: int) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "abc", "1.5", "10kb", "0x", "0xg", "1e3", "9" * 5_000])
def test_whole_refuses_other_texts(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|Exceeds the limit"):
        whole(text)


@pytest.mark.parametrize("host", NAMES)
def test_ascii_name_takes_host_names_and_ipv4_addresses(host: str) -> None:
    assert ascii_name(host) == host
    assert bind_host(host) == bind_host_ipv4(host) == header_host(host) == host


def test_ascii_name_converts_other_scripts() -> None:
    assert ascii_name("bücher.example") == "xn--bcher-kva.example"
    assert header_host("bücher.example") == "xn--bcher-kva.example"
    assert bind_host("bücher.example") == "bücher.example"


@pytest.mark.parametrize("host", NO_NAMES)
def test_ascii_name_refuses_texts_that_no_host_can_have(host: str) -> None:
    assert ascii_name(host) is None
    if "::" not in host:
        assert bind_host_ipv4(host) is None


@pytest.mark.parametrize("host", IPV6)
def test_bind_host_takes_ipv6_for_tcp_alone(host: str) -> None:
    for text in (host, f"[{host}]"):
        assert bind_host(text) == header_host(text) == host
        with pytest.raises(Unfit, match=r"the DHT speaks IPv4; 0\.0\.0\.0 is all addresses$"):
            bind_host_ipv4(text)


@pytest.mark.parametrize(
    ("host", "ipv4"),
    [
        ("::1", "127.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("fd00::2", None),
        ("::", None),
        ("fe80::1%eth0", None),
        ("10.0.0.1", "10.0.0.1"),
        ("name.example", "name.example"),
    ],
)
def test_ipv4_of_an_address_is_what_the_dht_can_use(host: str, ipv4: str | None) -> None:
    assert ipv4_of(host) == ipv4


@pytest.mark.parametrize(
    "host", ["127.0.0.1:30001", "a:1", "[::1]:30001", "[::1", "::1]", "[a]", "::g", "1:2:3", "*", ""]
)
def test_bind_host_refuses_ports_half_brackets_and_patterns(host: str) -> None:
    assert bind_host(host) is None
    assert header_host(host) is None


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://app.example", "https://app.example"),
        ("HTTPS://App.Example/", "https://app.example"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("http://localhost:08080", "http://localhost:8080"),
        ("http://a:80", "http://a"),
        ("https://a:443", "https://a"),
        ("https://a:80", "https://a:80"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_origin_is_written_as_browsers_send_it(text: str, sent: str) -> None:
    assert origin(text) == sent


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_origin_refuses_what_no_browser_sends(text: str) -> None:
    assert origin(text) is None


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_file_name_refuses_paths_of_no_file(path: str) -> None:
    assert file_name(path) is None
    assert file_name("grape.sqlite") == "grape.sqlite"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("127.0.0.1:20001", ("127.0.0.1", 20_001)),
        ("127.0.0.1:020001", ("127.0.0.1", 20_001)),
        ("a:0x4e21", ("a", 20_001)),
        (" localhost:65535 ", ("localhost", 65_535)),
        (("a", 1), ("a", 1)),
        (["b", "02"], ("b", 2)),
    ],
)
def test_node_address_is_text_or_a_pair(entry: object, address: tuple[str, int]) -> None:
    assert node_address(entry) == address


ENTRIES = ["127.0.0.1", "h:abc", "h:0", "h:70000", "h:-1", "h:", ":20002", ":", "h:1.5", "h: ", 5, None, True, b"h:1"]
PAIRS = [("h",), ("h", None), ("h", 70_000), ("h", 0), ("h", True), ("h", 1.0), ("", 1), (b"h", 1), ("h", 1, 2), {}]


@pytest.mark.parametrize("entry", [*ENTRIES, *PAIRS])
def test_node_address_refuses_entries_without_host_or_port(entry: Any) -> None:
    with pytest.raises(Unfit, match=r"^takes HOST:PORT entries, not "):
        node_address(entry)


@pytest.mark.parametrize("entry", ["::1:20002", "[::1]:20002", "a b:1", "http://a:1", "h:1:2", "*:1", ("fd00::1", 1)])
def test_node_address_refuses_hosts_that_the_dht_cannot_reach(entry: Any) -> None:
    with pytest.raises(Unfit, match=r"^takes IPv4 addresses and host names, not "):
        node_address(entry)


def test_shown_value_is_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10_000)) == MAX_SHOWN_CHARACTERS + 3
    assert shown(10**5_000) == "this int"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:020001", "10.0.0.1:20001"),
        ("bücher.example:5", "xn--bcher-kva.example:5"),
        ("localhost:0x4e21", "localhost:20001"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_advertised_is_a_host_with_or_without_a_port(text: str, taken: str) -> None:
    assert advertised(text) == advertised(taken) == taken


NOT_ADVERTISED = ["", ":5", "a:", "a:0", "a:70000", "a:x", "a:1:2", "0.0.0.0", "224.0.0.1", "::1", "[::1]:5", "a b"]


@pytest.mark.parametrize("text", [*NOT_ADVERTISED, "a:" + "9" * 5_000])
def test_advertised_refuses_what_no_other_host_can_use(text: str) -> None:
    assert advertised(text) is None
