"""Names the kinds of values that several settings share.

Under 60 lines: it is a list.
"""

from __future__ import annotations

from grape.settings import texts
from grape.settings.kinds import Milliseconds, Nodes, Text, Texts, Whole

#: The longest time that a setting takes: 31 years.
MAX_MILLISECONDS = 10**12

PORT = Whole(0, texts.MAX_PORT, placeholder="PORT")
HOST = Text("an IPv4 or IPv6 address or a host name", texts.bind_host, placeholder="ADDRESS")
IPV4_HOST = Text("an IPv4 address or a host name", texts.bind_host_ipv4, placeholder="ADDRESS")
ADVERTISED = Text("HOST or HOST:PORT with an IPv4 address or a host name", texts.advertised, placeholder="HOST[:PORT]")
ORIGINS = Texts("origins such as https://app.example or http://10.0.0.1:8080", texts.origin, placeholder="ORIGIN,...")
HEADER_HOSTS = Texts("host names and addresses without a port", texts.header_host, placeholder="NAME,...")
FILE = Text("a file", texts.file_name, placeholder="FILE")
LEVELS = Texts("debug, info, warn, error or critical, or LOGGER=LEVEL", texts.log_level, placeholder="LEVEL,...")
NODES = Nodes(placeholder="HOST:PORT,...")
TIME = Milliseconds(0, MAX_MILLISECONDS)
ENTRIES = Whole(1, 10**7)
FEWER = Whole(1, 10**6)
MEMORY = Whole(1_000_000, 2**40, "bytes", placeholder="BYTES")
