"""Provides an in-memory network with virtual time, for the tests of programs that embed a grape.

The same ``Grape`` runs on it, without sockets and without waiting::

    from grape.testing import MemoryNetwork, make_grapes

    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    assert network.result(grapes[1].lookup("rest:util:net")) == ["10.0.0.1:1337"]

Neither the real clock nor the system's randomness is used: the same seed gives the same run. Conditions change at any
time::

    network.loss = 0.1                    # a tenth of the datagrams
    network.partition(["10.0.0.1"])       # until network.heal()
    network.kill("10.0.0.3")              # as kill -9 does
    network.clock.advance(60)             # a virtual minute

``make_link(network, grapes[0])`` is a ``grape.client.Link`` to them.

``python -m grape.testing.scenarios`` runs whole networks under such conditions and prints how many lookups succeed.
"""

from typing import TYPE_CHECKING

from grape.testing.clock import HeapClock
from grape.testing.network import (
    GrapeKeywords,
    MemoryNetwork,
    MemoryPort,
    MemoryReactor,
    host_name,
    make_grape,
    make_grapes,
)

__all__ = [
    "GrapeKeywords",
    "HeapClock",
    "MemoryNetwork",
    "MemoryPort",
    "MemoryReactor",
    "host_name",
    "make_grape",
    "make_grapes",
    "make_link",
]

if TYPE_CHECKING:
    from grape.testing.link import make_link
else:

    def __getattr__(name: str) -> object:
        """Imports ``make_link`` at its first use: it brings an HTTP client."""
        if name == "make_link":
            from grape.testing.link import make_link

            return make_link
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
