"""The faults of the reference (ops-security.md 0, dht-peers.md F3), and the rows that would show them here."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str], ...] = (
    ("ops 0.1, F3.1: one datagram of the wrong types ends the process", "mutated"),
    ("ops 0.2: one request ends it: /announce with port 70000 or -1", "mutated"),
    ("ops 0.3, F3.6: get_peers replies without bound, 169 times the query", "amplification, drowning"),
    ("ops 0.4: one host drowns a name with 9,000 announces", "drowning"),
    ("ops 0.5, F3.5: the table takes anybody's word", "poisoning"),
    ("F3.2: one dead grape of three makes every lookup take 2.5 s", "three, six, again"),
    ("F3.3: every mutable put is refused (unused flags: tests/test_tap.py)", "clients"),
    ("E 12: a restart forgets the id, the contacts, every item and every service", "kills, reborn"),
    ("F3.4, F3.7: values or nodes, never both: stale replicas, partial announces", "harsh, loss, partition, expiry"),
)
