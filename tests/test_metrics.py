"""grape.metrics: the names of the counters, which users read from ``stats()``, and their help texts."""

from __future__ import annotations

from grape.metrics import Counters, help_texts
from grape.testing import MemoryNetwork, make_grapes

# Users and the gauntlet read these: none may be renamed or left out. Others may be added.
NAMES = (
    "datagrams_in",
    "datagrams_out",
    "malformed",
    "queries_in",
    "refused",
    "queries_out",
    "answered",
    "slow",
    "timed_out",
    "unexpected",
    "lookups",
    "repaired",
    "send_errors",
    "not_sent",
    "shaped",
    "faults",
    "evicted_keys",
    "evicted_peers",
    "evicted_peers_of_announcer",
    "evicted_items",
    "unverified_puts",
    "withdrawals",
    "evicted_withdrawals",
    "renewed",
    "republished",
    "state_commits",
    "state_failures",
    "state_moved_aside",
    "evicted_connections",
    "refused_connections",
    "overloads",
)


def test_stats_have_every_counter_by_name(network: MemoryNetwork) -> None:
    (grape,) = make_grapes(network, 1)
    assert set(grape.stats().counters) >= set(NAMES)
    assert set(grape.node.stats().counters) == set(grape.stats().counters)


def test_counters_start_at_0_and_are_read_by_name() -> None:
    counters = Counters()
    assert set(counters.as_dict().values()) == {0}
    counters.lookups += 3
    assert counters.as_dict()["lookups"] == 3


def test_counters_all_have_a_help_text_of_their_own() -> None:
    texts = help_texts()
    assert set(texts) == set(Counters().as_dict())
    assert len(set(texts.values())) == len(texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts.values())
