"""Every knob of a grape, with its default and its range, in one place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypedDict

import attrs

from grape.dht.compact import Address, is_ipv4
from grape.dht.lookup import ALPHA, MAX_CANDIDATES, MAX_QUERIES

DHT_PORT = 20_001
API_PORT = 30_001
MAX_PORT = 65_535
PROFILES = ("private", "public")
DURABILITIES = ("full", "normal")
#: The state file that is none.
NO_FILE = ":memory:"
PEER_MAX_AGE_SECONDS = 240.0
NODE_LIVENESS_SECONDS = 300.0
MAX_PAYLOAD_BYTES = 8_192
MAX_TABLES = 5_000
MAX_VALUES = 5_000
MAX_CONCURRENCY = 160


class ConfigError(ValueError):
    """A value that no grape can run with: ``name`` is the option's, ``problem`` says what it takes."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


def parse_bootstrap(entry: str) -> Address:
    """The ``(host, port)`` of a bootstrap entry ``host:port``. Raises ConfigError."""
    host, colon, port_text = entry.strip().rpartition(":")
    try:
        port = int(port_text, 0)
    except ValueError:
        port = 0
    if not colon or not host or not 0 < port <= MAX_PORT:
        raise ConfigError("dht_bootstrap", f"takes HOST:PORT entries, not {entry.strip()!r}")
    if ":" in host or not _is_host(host):
        raise ConfigError("dht_bootstrap", f"takes IPv4 addresses and host names, not {host!r}")
    return host, port


def _to_bootstrap(entries: Iterable[str | Address] | bool | None) -> tuple[Address, ...]:
    if not entries or entries is True:
        return ()
    texts = entries.split(",") if isinstance(entries, str) else entries
    try:
        addresses = [
            parse_bootstrap(entry if isinstance(entry, str) else "{}:{}".format(*entry))
            for entry in texts
            if entry and (not isinstance(entry, str) or entry.strip())
        ]
    except (TypeError, IndexError) as error:
        raise ConfigError("dht_bootstrap", f"takes HOST:PORT entries, not {entries!r}") from error
    return tuple(dict.fromkeys(addresses))


def _is_host(host: str) -> bool:
    """Whether this can be an IPv4 address or a host name."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    looks_like_address = host.replace(".", "").isdigit()
    return is_ipv4(host) if looks_like_address else not any(c.isspace() or c in "/,@" for c in host)


def _to_list(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Texts, or one text with commas between them."""
    parts = texts.split(",") if isinstance(texts, str) else texts
    return tuple(part.strip() for part in parts if part.strip())


# For each number its lowest and highest value, and whether it has to be whole.
_RANGES = {
    "dht_port": (0, MAX_PORT, True),
    "api_port": (0, MAX_PORT, True),
    "dht_concurrency": (1, MAX_CONCURRENCY, True),
    "dht_max_tables": (1, 10**7, True),
    "dht_max_values": (1, 10**7, True),
    "dht_peer_max_age": (0, math.inf, False),
    "cache_max_age": (0, math.inf, False),
    "dht_node_liveness": (0.1, math.inf, False),
    "check_max_payload_size": (1, 2**31, True),
    "max_keys": (1, 10**7, True),
    "max_peers_per_key": (1, 10**6, True),
    "max_peers_per_announcer": (1, 10**6, True),
    "max_store_bytes": (1_000_000, 2**40, True),
    "max_item_bytes": (1_000_000, 2**40, True),
    "max_pending": (16, 10**6, True),
    "max_queries_per_lookup": (20, MAX_CANDIDATES, True),
    "max_verifying": (16, 10**5, True),
    "max_strangers": (16, 10**6, True),
    "max_announces": (1, 10**6, True),
    "max_calls": (1, 10**6, True),
    "max_connections": (1, 10**6, True),
    "max_connections_per_host": (1, 10**6, True),
    "timeslot": (0.001, 10**9, False),
}
_MAY_BE_NONE = ("api_port", "cache_max_age", "timeslot")
_HOSTS = ("host", "dht_bind", "api_bind")


@attrs.frozen(kw_only=True)
class Config:
    """How a grape runs. Times are in seconds here (the flags and Grenache's own keywords are in milliseconds).

    Raises ConfigError for a value out of range.
    """

    #: Address for both sockets, and what a lone grape's own services are listed under. None: all addresses.
    host: str | None = None
    #: Address of the UDP socket alone (IPv4).
    dht_bind: str | None = None
    #: Address of the HTTP socket alone.
    api_bind: str | None = None
    #: UDP port; 0 lets the system choose.
    dht_port: int = DHT_PORT
    #: HTTP port; 0 lets the system choose; None: no HTTP.
    api_port: int | None = API_PORT
    #: Nodes to join through; strings "host:port", or one string with commas.
    dht_bootstrap: tuple[Address, ...] = attrs.field(default=(), converter=_to_bootstrap)
    #: Queries that one lookup has in flight. 16 is what the Node grape does, whatever it is told.
    dht_concurrency: int = ALPHA
    #: Keys whose closest nodes and tokens are kept for five minutes.
    dht_max_tables: int = MAX_TABLES
    #: Items kept; the longest unused one of the host that brought most goes first.
    dht_max_values: int = MAX_VALUES
    #: Life of an announced peer, exactly; 0: for ever. The Node link announces again every 60 to 180 s.
    dht_peer_max_age: float = PEER_MAX_AGE_SECONDS
    #: How long what a lookup found may stand in while no other node can be reached. None: half the peer age.
    cache_max_age: float | None = None
    #: Silence after which a contact is pinged.
    dht_node_liveness: float = NODE_LIVENESS_SECONDS
    #: Bytes of an HTTP body.
    check_max_payload_size: int = MAX_PAYLOAD_BYTES
    #: Length of a 0.x network's time slot; None: names are used as they are.
    timeslot: float | None = None
    #: Keys that peers are kept under; the one announced longest ago goes first. A grape serves a few thousand names.
    max_keys: int = 10_000
    #: Peers of one key; the oldest of whoever announced most goes first. A lookup lists a hundred.
    max_peers_per_key: int = 2_000
    #: Peers of one key that were announced from one UDP address; its oldest goes first.
    max_peers_per_announcer: int = 128
    #: Bytes of all keys and peers together, a name counted for each of its peers, as in a state file: 10,000 names of a
    #: usual length with a dozen peers take 60 MB.
    max_store_bytes: int = 64 * 1024 * 1024
    #: Bytes of all items together: 5,000 of the largest take 10 MB, so it counts when ``dht_max_values`` is raised.
    max_item_bytes: int = 16 * 1024 * 1024
    #: Queries in flight: 1,024 calls with twenty writes each, and as many for what a node does by itself. Calls are
    #: refused with 503 from three quarters of it on.
    max_pending: int = 40_960
    #: Queries that one lookup sends in all, whatever it is told: an honest one takes 20 to 60. More finds more
    #: among liars, and sends more to whomever liars name.
    max_queries_per_lookup: int = MAX_QUERIES
    #: Nodes pinged at once in order to be listed; 128 a second are begun for those that asked us.
    max_verifying: int = 512
    #: Addresses that never answered and are remembered, so that they are neither pinged nor (in public) sent too much.
    max_strangers: int = 4_096
    #: Announces made here that are brought to nodes that come closer; the one made longest ago is left to its service.
    max_announces: int = 10_000
    #: Lookups, announces, puts and gets of this grape's clients under way; over it they get 503 at once.
    max_calls: int = 1_024
    #: HTTP connections; those that brought no request are closed first, then the longest unused of the busiest host.
    max_connections: int = 512
    #: HTTP connections from one address other than loopback.
    max_connections_per_host: int = 64
    #: Origins of web pages that may call the HTTP API, "https://app.example".
    allow_origin: tuple[str, ...] = attrs.field(default=(), converter=_to_list)
    #: Names by which this machine may be called over loopback.
    allow_host: tuple[str, ...] = attrs.field(default=(), converter=_to_list)
    #: "private": a ring of one's own, on any addresses; "public": the open internet, with rules for addresses.
    profile: str = "private"
    #: BEP 43: ask, but do not serve.
    read_only: bool = False
    #: File in which state outlives the process; None: the command chooses one, an embedded grape keeps nothing;
    #: ":memory:": nothing is kept.
    state: str | None = None
    #: When a put counts as kept: "full", when it survives a power cut; "normal", when it survives the process.
    durability: str = "full"

    def __attrs_post_init__(self) -> None:
        for name, (low, high, whole) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                _check_number(name, value, low, high, whole=whole)
        for name, choices in (("profile", PROFILES), ("durability", DURABILITIES)):
            if getattr(self, name) not in choices:
                raise ConfigError(name, f"takes {' or '.join(choices)}, not {getattr(self, name)!r}")
        if self.state is not None and (not isinstance(self.state, str) or not self.state or "\0" in self.state):
            raise ConfigError("state", f"takes a file, not {self.state!r}")
        for name in _HOSTS:
            host = getattr(self, name)
            if host is not None and not (isinstance(host, str) and (":" in host or _is_host(host))):
                raise ConfigError(name, f"takes an address or a host name, not {host!r}")

    @property
    def dht_host(self) -> str:
        """The address to bind the UDP socket to, "" for all. The DHT speaks IPv4."""
        host = self.dht_bind if self.dht_bind is not None else self.host
        if host == "localhost":
            return "127.0.0.1"
        # An IPv6 host can only be meant for the HTTP socket.
        return "" if host is None or (self.dht_bind is None and ":" in host) else host

    @property
    def api_host(self) -> str:
        """The address to bind the HTTP socket to; "::" is all addresses of both families."""
        host = self.api_bind if self.api_bind is not None else self.host
        return "::" if host is None else host

    @property
    def announced_host(self) -> str | None:
        """The address that services announced here are known to have: a real, specific one, or None."""
        host = self.dht_host
        return host if host and is_ipv4(host) and host != "0.0.0.0" else None

    @property
    def state_file(self) -> str | None:
        """The state file, None if nothing is kept."""
        return None if self.state == NO_FILE else self.state

    @property
    def cache_age(self) -> float:
        """The age of the lookup cache in seconds."""
        return self.dht_peer_max_age / 2 if self.cache_max_age is None else self.cache_max_age


class Limits(TypedDict, total=False):
    """The limits of Config that have no name in Grenache: ``Grape`` takes them as keywords, too."""

    max_keys: int
    max_peers_per_key: int
    max_peers_per_announcer: int
    max_store_bytes: int
    max_item_bytes: int
    max_pending: int
    max_queries_per_lookup: int
    max_verifying: int
    max_strangers: int
    max_announces: int
    max_calls: int
    max_connections: int
    max_connections_per_host: int


def _check_number(name: str, value: object, low: float, high: float, *, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and not isinstance(value, int)):
        raise ConfigError(name, f"takes a {'whole ' if whole else ''}number, not {value!r}")
    if not low <= value <= high:
        # The flags of times are in milliseconds: the unit is said.
        unit = "" if whole else " s"
        limits = f"{low:g}{unit} or more" if high == math.inf else f"{low:.10g} to {high:.10g}{unit}"
        raise ConfigError(name, f"takes {limits}")
