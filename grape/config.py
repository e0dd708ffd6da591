"""Declares every setting of a grape once: its names, default, range and help text.

``Config`` is the declaration. The flags and their help (``grape.tap``), environment variables, the keys of a file
(``grape.settings.places``), the keywords of ``Grape``, error messages and the table in docs/configuration.md are made
of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import attrs

from grape.dht.compact import Address, is_ipv4
from grape.dht.lookup import ALPHA, MAX_CANDIDATES, MAX_QUERIES
from grape.dht.transactions import MAX_PENDING
from grape.errors import ConfigError as ConfigError
from grape.settings import forms, texts
from grape.settings.declaration import Setting, check, declare, metadata
from grape.settings.keywords import Keywords as Keywords
from grape.settings.keywords import Limits as Limits
from grape.settings.kinds import Choice, Milliseconds, Switch, Whole
from grape.settings.texts import MAX_PORT as MAX_PORT

DHT_PORT = 20_001
API_PORT = 30_001
PROFILES = ("private", "public")
DURABILITIES = ("full", "normal")
LOG_FORMATS = ("text", "json")
#: The name of a state file that stands for none.
NO_FILE = ":memory:"
PEER_MAX_AGE_SECONDS = 240.0
NODE_LIVENESS_SECONDS = 300.0
MAX_PAYLOAD_BYTES = 8_192
MAX_TABLES = 5_000
MAX_VALUES = 5_000
MAX_CONCURRENCY = 160


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    """Returns texts as they were given; its types are for mypy, and ``check`` converts them (it knows the name)."""
    return cast("tuple[str, ...]", given)


def _nodes(given: str | Iterable[str | Address] | bool | None) -> tuple[Address, ...]:
    """Returns addresses of nodes as they were given; its types are for mypy, and ``check`` converts them."""
    return cast("tuple[Address, ...]", given)


def parse_bootstrap(entry: str) -> Address:
    """Returns the (host, port) of a bootstrap entry "host:port". Raises ConfigError."""
    try:
        return texts.node_address(entry)
    except texts.Unfit as error:
        raise ConfigError("dht_bootstrap", str(error)) from None


@attrs.frozen(kw_only=True)
class Config:
    """Holds the settings of a grape. Times are in seconds here, in milliseconds as flags and as keywords of ``Grape``.

    All but ``drain``, which is in seconds everywhere. ``dht_bootstrap``, ``allow_origin`` and ``allow_host`` take lists
    or one text with commas between the entries. Raises ConfigError for a value that no grape can run with.
    """

    # The sockets, and the nodes to join through

    dht_port: int = declare(
        DHT_PORT, Setting(forms.PORT, "UDP port of the DHT; 0: any free port", flag="dp", also=("dht_port",))
    )
    #: None: no HTTP.
    api_port: int | None = declare(
        API_PORT,
        Setting(
            forms.PORT,
            "TCP port of the HTTP API; 0: any free port",
            flag="aph",
            also=("api_port", "api_port_http"),
            keywords=("api_port", "api_port_http"),
            may_be_none=True,
        ),
    )
    dht_bootstrap: tuple[Address, ...] = attrs.field(
        default=(),
        converter=_nodes,
        metadata=metadata(
            Setting(
                forms.NODES,
                "nodes to join through; contacted in parallel and retried indefinitely",
                flag="bn",
                also=("bootstrap",),
                off="no-bn",
                unset="none",
                may_be_bare=True,
                reloads=True,
            )
        ),
    )
    #: Services announced through a grape that has no other contact are listed under this address, too. An IPv6 address
    #: is for the HTTP API, and needs ``dht_bind``; ::1 is 127.0.0.1 for the DHT.
    host: str | None = declare(
        None,
        Setting(
            forms.HOST,
            "address that both sockets listen on",
            flag="b",
            also=("bind",),
            unset="all addresses",
            may_be_bare=True,
        ),
    )
    dht_bind: str | None = declare(
        None, Setting(forms.IPV4_HOST, "address that the UDP socket listens on", unset="as -b")
    )
    api_bind: str | None = declare(None, Setting(forms.HOST, "address that the HTTP API listens on", unset="as -b"))

    #: Behind NAT or a published port: other nodes list the address that they see, this one itself the one named here.
    advertise: str | None = declare(
        None,
        Setting(
            forms.ADVERTISED,
            "address that others reach this grape's host at, and UDP port if it differs",
            unset="the one that other nodes see",
        ),
    )

    # What the Node grape has, too

    #: The Node grape has 16, whatever it is told.
    dht_concurrency: int = declare(
        ALPHA,
        Setting(
            Whole(1, MAX_CONCURRENCY), "queries that one lookup has in flight", flag="dc", also=("dht_concurrency",)
        ),
    )
    #: The Node client announces again every 60 to 180 s.
    dht_peer_max_age: float = declare(
        PEER_MAX_AGE_SECONDS,
        Setting(
            forms.TIME,
            "time after which an announced peer expires; 0: never",
            flag="dht_peer_maxAge",
            also=("dpa",),
            keywords=("dht_peer_maxAge",),
        ),
    )
    cache_max_age: float | None = declare(
        None,
        Setting(
            forms.TIME,
            "time for which a lookup's result is served again while no other node answers",
            flag="cache_maxAge",
            keywords=("cache_maxAge",),
            unset="half of --dht_peer_maxAge",
        ),
    )
    dht_node_liveness: float = declare(
        NODE_LIVENESS_SECONDS,
        Setting(
            Milliseconds(100, forms.MAX_MILLISECONDS),
            "time without a message after which a contact is pinged",
            flag="dnl",
            also=("dht_nodeLiveness",),
            keywords=("dht_nodeLiveness",),
        ),
    )
    dht_max_tables: int = declare(
        MAX_TABLES,
        Setting(
            forms.ENTRIES,
            "keys whose closest nodes and tokens are kept for 5 minutes",
            flag="dht_maxTables",
            keywords=("dht_maxTables",),
            reloads=True,
        ),
    )
    dht_max_values: int = declare(
        MAX_VALUES,
        Setting(
            forms.ENTRIES,
            "items stored; above it the host that stored most loses its least recently used",
            flag="dht_maxValues",
            keywords=("dht_maxValues",),
            reloads=True,
        ),
    )
    check_max_payload_size: int = declare(
        MAX_PAYLOAD_BYTES,
        Setting(
            Whole(1, 2**31, "bytes", placeholder="BYTES"),
            "size of the largest HTTP body",
            flag="check_maxPayloadSize",
            keywords=("check_maxPayloadSize",),
            reloads=True,
        ),
    )
    #: None: names are looked up as they are.
    timeslot: float | None = declare(
        None,
        Setting(
            Milliseconds(1, forms.MAX_MILLISECONDS),
            "join a network of Grenache 0.x, whose keys contain a time slot of this length",
            unset="off",
        ),
    )

    # Limits

    #: A grape serves a few thousand names. Above the limit the key announced longest ago is evicted.
    max_keys: int = declare(10_000, Setting(forms.ENTRIES, "names under which peers are stored", reloads=True))
    #: Above it the oldest peer of the largest announcer is evicted. A lookup lists 100.
    max_peers_per_key: int = declare(2_000, Setting(forms.FEWER, "peers stored under one name", reloads=True))
    #: A grape announces all instances of its host from one address. Above it the announcer's oldest peer is evicted.
    max_peers_per_announcer: int = declare(
        1_024, Setting(forms.FEWER, "peers of one name that were announced from one UDP address", reloads=True)
    )
    #: A name counts for each of its peers, as in a state file: 10,000 names of usual length with a dozen peers each
    #: take 60 MB.
    max_store_bytes: int = declare(
        64 * 1024 * 1024, Setting(forms.MEMORY, "memory for names and peers together", reloads=True)
    )
    #: 5,000 items of the largest size take 10 MB: it counts when ``dht_max_values`` is raised.
    max_item_bytes: int = declare(16 * 1024 * 1024, Setting(forms.MEMORY, "memory for items together", reloads=True))
    #: 1,024 calls with twenty writes each, and as many for what a node does by itself.
    max_pending: int = declare(
        MAX_PENDING,
        Setting(Whole(16, 10**6), "queries in flight; above three quarters of it HTTP calls get 503", reloads=True),
    )
    #: A lookup among honest nodes sends 20 to 60. More finds more among hostile ones, and sends more to their targets.
    max_queries_per_lookup: int = declare(
        MAX_QUERIES, Setting(Whole(20, MAX_CANDIDATES), "queries that one lookup sends in all", reloads=True)
    )
    #: 128 liveness checks a second are begun for nodes that sent a query.
    max_liveness_checks: int = declare(
        512,
        Setting(
            Whole(16, 10**5),
            "nodes that are pinged at once, to become contacts if they answer",
            also=("max-verifying",),
            keywords=("max_liveness_checks", "max_verifying"),
            reloads=True,
        ),
    )
    #: They are not pinged again, and in the public profile the bytes sent to them are limited.
    max_strangers: int = declare(
        4_096, Setting(Whole(16, 10**6), "addresses remembered because they never answered", reloads=True)
    )
    #: Above it the oldest is left to its service, which announces again.
    max_announces: int = declare(
        10_000, Setting(forms.FEWER, "announces of own services that are repeated at closer nodes", reloads=True)
    )
    max_calls: int = declare(
        1_024, Setting(forms.FEWER, "HTTP calls in progress; above it a call gets 503", reloads=True)
    )
    #: Connections without a request are closed first, then the one of the busiest host that was idle longest.
    max_connections: int = declare(
        512, Setting(forms.FEWER, "HTTP connections; above it an idle one is closed", reloads=True)
    )
    max_connections_per_host: int = declare(
        64, Setting(forms.FEWER, "HTTP connections of one client address, loopback exempt", reloads=True)
    )

    # Who may call, and how the node behaves

    allow_origin: tuple[str, ...] = attrs.field(
        default=(),
        converter=_texts,
        metadata=metadata(
            Setting(forms.ORIGINS, "origins of web pages that may call the HTTP API", unset="none", reloads=True)
        ),
    )
    #: Beside these, localhost and the machine's host name are accepted.
    allow_host: tuple[str, ...] = attrs.field(
        default=(),
        converter=_texts,
        metadata=metadata(
            Setting(
                forms.HEADER_HOSTS,
                "names, beside localhost and this machine's, by which the HTTP API may be called",
                unset="none",
                reloads=True,
            )
        ),
    )
    profile: str = declare(
        "private",
        Setting(Choice(PROFILES), "private: for a network of your own; public: rules for the open internet"),
    )
    read_only: bool = declare(False, Setting(Switch(), "send queries, but answer none (BEP 43)"))
    #: None: the command chooses the file, an embedded grape keeps nothing. ":memory:": nothing is kept.
    state: str | None = declare(
        None,
        Setting(forms.FILE, "file in which state survives restarts; :memory: keeps none", unset="grape-PORT.sqlite"),
    )
    durability: str = declare(
        "full",
        Setting(Choice(DURABILITIES), "full: an answered put survives a power cut; normal: only a killed process"),
    )
    drain: int = declare(
        0,
        Setting(
            Whole(0, 3_600, "seconds", placeholder="SECONDS"),
            "seconds for which a grape that is told to stop goes on",
            reloads=True,
        ),
    )
    ready_isolated: bool = declare(
        False,
        Setting(Switch(), "isolated, stay ready and keep what is announced and put, for rings of two", reloads=True),
    )

    # The log, and where settings are read. Only a process of its own sets up a log and reads them (``grape.daemon``).

    log_announces: bool = declare(
        False,
        Setting(Switch(), "log each announce and withdrawal, who made it, and each peer that expires", reloads=True),
    )
    log_level: tuple[str, ...] = attrs.field(
        default=("info",),
        converter=_texts,
        metadata=metadata(
            Setting(
                forms.LEVELS,
                "the least important lines to log: for all, as warn, or for a logger, as grape.krpc=debug",
                reloads=True,
                for_process=True,
            )
        ),
    )
    log_format: str | None = declare(
        None,
        Setting(
            Choice(LOG_FORMATS),
            "text, or json: one object a line",
            unset="text on a terminal, else json",
            for_process=True,
        ),
    )
    config: str | None = declare(
        None,
        Setting(forms.FILE, "TOML file with settings; flags and GRAPE_* go before it", unset="none", for_process=True),
    )

    def __attrs_post_init__(self) -> None:
        check(self)
        if self.dht_bind is None and self.host not in (None, "::") and texts.ipv4_of(self.host or "") is None:
            raise ConfigError(
                "host",
                f"takes an IPv4 address or a host name, not {texts.shown(self.host)}: the DHT speaks IPv4; "
                f"use --api-bind {self.host} for HTTP, and --dht-bind with an IPv4 address",
            )

    @property
    def dht_host(self) -> str:
        """The address to bind the UDP socket to, "" for all. The DHT speaks IPv4: ::1 is 127.0.0.1 for it."""
        host = self.dht_bind if self.dht_bind is not None else self.host
        if host == "localhost":
            return "127.0.0.1"
        return "" if host is None or host == "::" else texts.ipv4_of(host) or ""

    @property
    def api_host(self) -> str:
        """The address to bind the HTTP socket to; "::" is all addresses of both families."""
        host = self.api_bind if self.api_bind is not None else self.host
        return "::" if host is None else host

    @property
    def announced_host(self) -> str | None:
        """The IPv4 address that services announced here are found at: as advertised, or bound to; None: not known."""
        host = self.dht_host if self.advertised is None else self.advertised[0]
        return host if host and is_ipv4(host) and host != "0.0.0.0" else None

    @property
    def advertised(self) -> tuple[str, int | None] | None:
        """The host and the UDP port of ``advertise``; the port is None if it is the one that the socket is bound to."""
        if self.advertise is None:
            return None
        host, _, port = self.advertise.partition(":")
        return host, int(port) if port else None

    @property
    def state_file(self) -> str | None:
        """The state file, None if nothing is kept."""
        return None if self.state == NO_FILE else self.state

    @property
    def cache_age(self) -> float:
        """The age in seconds up to which the result of a lookup is served while no other node answers."""
        return self.dht_peer_max_age / 2 if self.cache_max_age is None else self.cache_max_age


#: What a grape has that is told nothing; parts of it that are used alone take their limits from here.
DEFAULTS = Config()
