"""grape.dht.bounded: a dictionary that forgets what was used longest ago."""

from __future__ import annotations

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


def test_reading_is_no_use_but_touching_is() -> None:
    entries = filled("a", "b", "c")
    assert entries["a"] == 0
    entries.move_to_end("b")
    assert entries.put("d", 3) == ("a", 0)
    assert entries.put("e", 4) == ("c", 2)


def test_a_bound_of_none_keeps_nothing() -> None:
    assert filled(max_size=0).put("a", 1) == ("a", 1)
