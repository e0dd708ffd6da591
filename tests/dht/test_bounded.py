"""grape.dht.bounded: what is evicted above the bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grape.dht.bounded import BoundedDict


def filled(*keys: str, max_size: int = 3) -> BoundedDict[str, int]:
    entries: BoundedDict[str, int] = BoundedDict(max_size)
    for number, key in enumerate(keys):
        entries.put(key, number)
    return entries


def test_put_evicts_the_oldest_entry_above_the_bound() -> None:
    entries = filled("a", "b", "c")
    assert entries.put("d", 3) == ("a", 0)
    assert list(entries) == ["b", "c", "d"]


def test_put_of_a_known_key_makes_it_the_newest_and_evicts_nothing() -> None:
    entries = filled("a", "b", "c")
    assert entries.put("a", 9) is None
    assert list(entries.items()) == [("b", 1), ("c", 2), ("a", 9)]


def test_move_to_end_counts_as_use_and_reading_does_not() -> None:
    entries = filled("a", "b", "c")
    assert entries["a"] == 0
    entries.move_to_end("b")
    assert entries.put("d", 3) == ("a", 0)
    assert entries.put("e", 4) == ("c", 2)


def test_put_keeps_nothing_under_a_bound_of_0() -> None:
    assert filled(max_size=0).put("a", 1) == ("a", 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80), st.integers(0, 6))
def test_put_evicts_the_one_put_or_touched_longest_ago_under_any_calls(
    calls: list[tuple[bool, int]], max_size: int
) -> None:
    entries: BoundedDict[int, int] = BoundedDict(max_size)
    # The model: the keys, the one put or touched longest ago first.
    keys: list[int] = []
    for turn, (touches, key) in enumerate(calls):
        keys = [other for other in keys if other != key] + [key] * (not touches or key in keys)
        if not touches:
            evicted = entries.put(key, turn)
            assert (evicted and evicted[0]) == (keys.pop(0) if len(keys) > max_size else None)
        elif key in entries:
            entries.move_to_end(key)
        assert list(entries) == keys


def test_resize_evicts_the_oldest_entries() -> None:
    entries: BoundedDict[str, int] = BoundedDict(5)
    for number, key in enumerate("abcde"):
        entries.put(key, number)
    entries.move_to_end("a")
    assert entries.resize(2) == [("b", 1), ("c", 2), ("d", 3)]
    assert entries.put("f", 5) == ("e", 4)
    assert entries.resize(4) == []
    assert entries.put("g", 6) is None
