"""What keeping the state in SQLite costs: a grape of ours beside one that keeps nothing."""

from __future__ import annotations

from benchmarks import http, krpc
from benchmarks.figures import IN_MEMORY, Figure, Group

LOOKUPS = Group(
    (
        Figure("state-lookup", "http-lookup with its state in SQLite", "http-lookup", "requests/s", IN_MEMORY,
               at_least=0.95),
    ),
    http.measure,
    tools=("wrk",),
)  # fmt: skip
QUERIES = Group(
    (
        Figure("state-get_peers", "get_peers with its state in SQLite", "get_peers", "queries/s", IN_MEMORY,
               at_least=0.95),
    ),
    krpc.measure,
    tools=("cc",),
)  # fmt: skip
