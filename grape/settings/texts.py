"""Reads the texts of settings: whole numbers, host names, addresses, origins; says how an error shows a value."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from grape.dht.addresses import scope
from grape.dht.compact import Address, is_ipv4

MAX_PORT = 65_535
MAX_SHOWN_CHARACTERS = 60
MAX_NAME_CHARACTERS = 253
HTTP_PORTS = {"http": 80, "https": 443}
#: The levels of logging, from all lines to hardly any.
LOG_LEVELS = ("debug", "info", "warn", "error", "critical")

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# Compiled at their first use: a start seldom needs them.
_NAME = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_ORIGIN = r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::(\d{1,5}))?/?"


class Unfit(ValueError):
    """A value that a setting does not take; the text says what it takes."""


def shown(value: object) -> str:
    """Returns a value as an error shows it, in one line and not too long."""
    try:
        text = repr(value)
    except Exception:
        # Python refuses to write whole numbers of more than 4,300 digits.
        text = f"this {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def in_one_line(text: str) -> str:
    """Returns text that cannot steer a terminal or begin a line: what is not printable is escaped, as in Python."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def whole(text: str) -> int:
    """Reads a whole number as the Node grape does: "0x52d1" is hexadecimal, "020001" is not octal.

    Raises ValueError.
    """
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def ascii_name(host: str) -> str | None:
    """Returns a host name in ASCII (RFC 3490), or an IPv4 address; None for what is neither."""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if host.replace(".", "").isdigit():
        return host if is_ipv4(host) else None
    return host if len(host) <= MAX_NAME_CHARACTERS and re.fullmatch(_NAME, host, re.IGNORECASE) else None


def bind_host(host: str) -> str | None:
    """Returns a host that a TCP socket can be bound to, None for what is neither an address nor a host name.

    An IPv6 address may have brackets, which are taken off.
    """
    return ipv6(host) or (host if ascii_name(host) is not None else None)


def bind_host_ipv4(host: str) -> str | None:
    """Returns a host that an IPv4 socket can be bound to, None for what is no host name and no IPv4 address.

    Raises Unfit for an IPv6 address.
    """
    if ipv6(host) is not None:
        raise Unfit(f"takes an IPv4 address or a host name, not {shown(host)}: the DHT speaks IPv4; "
                    "0.0.0.0 is all addresses")  # fmt: skip
    return host if ascii_name(host) is not None else None


def header_host(host: str) -> str | None:
    """Returns a host as a Host header has it, without a port and brackets; None for no address and no host name."""
    return ipv6(host) or ascii_name(host)


def advertised(text: str) -> str | None:
    """Returns "host" or "host:port" with an IPv4 address or a host name that others can use, None for other texts."""
    host, colon, port_text = text.partition(":")
    name = ascii_name(host)
    if name is None or (is_ipv4(name) and scope(name) == "unusable"):
        return None
    if not colon:
        return name
    try:
        port = whole(port_text)
    except ValueError:
        return None
    return f"{name}:{port}" if 0 < port <= MAX_PORT else None


def origin(text: str) -> str | None:
    """Returns the origin of a web page as browsers send it (RFC 6454), None for what is no scheme://host[:port]."""
    match = re.fullmatch(_ORIGIN, text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    name = host if host.startswith("[") and ipv6(host) is not None else ascii_name(host)
    if name is None or (port is not None and not 0 < int(port) <= MAX_PORT):
        return None
    # Browsers leave out the scheme's own port.
    return f"{scheme}://{name}" + (f":{int(port)}" if port is not None and int(port) != HTTP_PORTS.get(scheme) else "")


def file_name(path: str) -> str | None:
    """Returns a file's path, None for what cannot be one."""
    return path if path and "\0" not in path else None


def log_level(text: str) -> str | None:
    """Returns a level of logging, "info", or that of a logger, "grape.krpc=debug"; None for what is neither."""
    name, equals, level = text.rpartition("=")
    name, level = name.strip(), level.strip().lower()
    level = "warn" if level == "warning" else level
    if level not in LOG_LEVELS or (equals and not re.fullmatch(r"[\w.]+", name)):
        return None
    return f"{name}={level}" if equals else level


def node_address(entry: object) -> Address:
    """Returns the (host, port) of a node, given likewise or as "host:port". Raises Unfit."""
    match entry:
        case str():
            host, _, port_text = entry.strip().rpartition(":")
        case (str(host), int(port)) if abs(port) <= MAX_PORT:
            port_text = str(port)
        case (str(host), str(port_text)):
            pass
        case _:
            raise Unfit(f"takes HOST:PORT entries, not {shown(entry)}")
    try:
        number = whole(port_text)
    except ValueError:
        number = 0
    if not host or not 0 < number <= MAX_PORT:
        raise Unfit(f"takes HOST:PORT entries, not {shown(entry.strip() if isinstance(entry, str) else entry)}")
    if ascii_name(host) is None:
        raise Unfit(f"takes IPv4 addresses and host names, not {shown(host)}")
    return host, number


def ipv6(host: str) -> str | None:
    """Returns an IPv6 address without its brackets, if it has any; None for what is no IPv6 address."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        IPv6Address(bare)
    except ValueError:
        return None
    return bare


def ipv4_of(host: str) -> str | None:
    """Returns the IPv4 address that an IPv6 address stands for: of "::ffff:10.0.0.1", and of "::1" 127.0.0.1.

    None for other IPv6 addresses; anything else is returned as it is.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host)
    if address.is_loopback:
        return "127.0.0.1"
    return str(address.ipv4_mapped) if address.ipv4_mapped is not None else None
