"""The faults of the reference (ops-security.md 0, dht-peers.md F3), and the rows that would show them here."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str], ...] = (
    ("ops 0.1, F3.1: one datagram of the wrong types ends the process", "mutated"),
    ("ops 0.2: one request ends it: /announce with port 70000 or -1", "mutated"),
    ("ops 0.3, F3.6: get_peers replies without bound, 169 times the query", "amplification, drowning"),
    ("ops 0.4: one host drowns a name with 9,000 announces", "drowning"),
    ("ops 0.5, F3.5: the table takes anybody's word", "poisoning"),
    ("ops 0.6, F3.2: a dead grape makes every lookup take 2.0 to 2.5 s", "three, six, again"),
    ("ops 0.7: a step of the wall clock stops every timer", "clock"),
    ("ops 0.8: datagrams over 8,192 bytes are cut short", "tests/live/test_faults.py"),
    ("ops 0.9: bodies without bounds, heads that never end", "slow"),
    ("ops 0.10: any web page can drive it", "browsers"),
    ("ops 0.11: bencode that ends the process", "mutated"),
    ("F3.3: every mutable put is refused (unused flags: tests/test_tap.py)", "clients"),
    ("F3.4: values or nodes, never both: stale replicas, partial announces", "tests/live/test_faults.py"),
    ("F3.7: the second port of a host is not seen by a standard client", "tests/live/test_faults.py"),
    ("E 12: a restart forgets the id, the contacts, every item and every service", "kills, reborn, baddays"),
)
