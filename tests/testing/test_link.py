"""grape.testing.link: a link to grapes in memory, in virtual time."""

from __future__ import annotations

import pytest

from grape import GrapeError
from grape.client import new_private_key, public_key
from grape.testing import MemoryNetwork, make_grapes, make_link

NAME = "rest:util:net"


def test_link_calls_grapes_in_memory(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    near, far = make_link(network, grapes[0]), make_link(network, *grapes[1:])
    assert network.result(near.announce(NAME, 1337)) == 2
    assert network.result(far.lookup(NAME)) == ["10.0.0.1:1337"]
    key = new_private_key()
    network.result(near.put_mutable(key, 5, salt="salt"))
    item = network.result(far.get_mutable(public_key(key), "salt"))
    assert item is not None
    assert item.value == 5
    assert network.result(far.status())["version"]


def test_link_asks_the_next_grape_where_one_stopped(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    link = make_link(network, *grapes[1:])
    network.result(grapes[1].stopService())
    assert network.result(link.announce(NAME, 1337)) >= 1
    assert network.result(grapes[0].lookup(NAME)) == ["10.0.0.3:1337"]


def test_service_stays_announced_in_virtual_time_until_it_is_stopped(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    announcing = make_link(network, grapes[0]).announcing(NAME, 1337)
    announcing.startService()
    network.result(announcing.when_announced())
    network.clock.advance(600)
    assert network.result(grapes[1].lookup(NAME)) == ["10.0.0.1:1337"]
    network.result(announcing.stopService())
    network.clock.advance(600)
    assert network.result(grapes[1].lookup(NAME)) == []


def test_link_tells_the_error_of_the_grape(network: MemoryNetwork) -> None:
    link = make_link(network, make_grapes(network, 2)[0])
    key = new_private_key()
    network.result(link.put_mutable(key, "new", seq=2))
    old = link.put_mutable(key, "old", seq=1)
    with pytest.raises(GrapeError, match="302 sequence"):
        network.result(old)
