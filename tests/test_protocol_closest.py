"""grape.protocol: the closest nodes of a key are cached for the next write, as long as they are the closest."""

from __future__ import annotations

from grape.dht.routing import MAX_GONE
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote

KEY = b"rest:util:net"


def test_closest_nodes_are_looked_up_again_if_more_contacts_went_than_the_table_remembers(
    network: MemoryNetwork,
) -> None:
    bare = Bare(network)
    holder = Remote(network, "10.0.0.1")
    network.result(bare.protocol.ping(holder.address))
    network.result(bare.protocol.announce_peer(KEY, 1))
    assert holder.methods().count(b"get_peers") == 1
    network.result(bare.protocol.announce_peer(KEY, 1))
    assert holder.methods().count(b"get_peers") == 1
    bare.table.version += MAX_GONE + 1
    network.result(bare.protocol.announce_peer(KEY, 1))
    assert holder.methods().count(b"get_peers") == 2


def test_closest_nodes_are_looked_up_again_after_one_went_and_came_back(network: MemoryNetwork) -> None:
    bare = Bare(network)
    holder = Remote(network, "10.0.0.1")
    network.result(bare.protocol.ping(holder.address))
    network.result(bare.protocol.announce_peer(KEY, 1))
    for sent_at in (100.0, 200.0, 300.0):
        bare.table.failed(holder.address, sent_at, sent_at + 2)
    assert bare.table.at(holder.address) is None
    network.result(bare.protocol.ping(holder.address))
    network.result(bare.protocol.announce_peer(KEY, 1))
    assert holder.methods().count(b"get_peers") == 2
