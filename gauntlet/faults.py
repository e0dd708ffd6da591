"""Lists faults of grenache-grape 1.0.0, the reference, and the rows or tests that would fail if a grape had them."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str], ...] = (
    ("one datagram with values of wrong types ends the process", "mutated"),
    ("one request ends the process: /announce with port 70000 or -1", "mutated"),
    ("get_peers responses are unbounded: up to 169 times the query", "amplification, drowning"),
    ("one host fills a name with 9,000 announces", "drowning"),
    ("the routing table lists any node that others name", "poisoning"),
    ("a dead grape makes every lookup take 2.0 to 2.5 s", "three, six, again"),
    ("a step of the wall clock stops every timer", "clock"),
    ("datagrams over 8,192 bytes are cut", "tests/live/test_faults.py"),
    ("bodies are unbounded, and request heads may never end", "slow"),
    ("any web page can call the API", "browsers"),
    ("malformed bencode ends the process", "mutated"),
    ("every mutable put is refused (and flags are ignored: tests/test_tap.py)", "clients"),
    ("responses have values or nodes, never both: replicas are missed", "tests/live/test_faults.py"),
    ("a second port of the same host is not seen by standard clients", "tests/live/test_faults.py"),
    ("a restart loses the node id, the contacts, every item and every service", "kills, reborn, baddays"),
)
