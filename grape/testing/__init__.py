"""For embedders' tests: grapes on an in-memory datagram network with a virtual clock.

Shipped as ``treq.testing`` is. The same ``Grape`` runs on it unchanged::

    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    assert network.result(grapes[1].lookup("rest:util:net")) == ["10.0.0.1:1337"]

The real clock and system randomness are never used: the same seed gives the same run.
"""

from grape.testing.clock import HeapClock
from grape.testing.network import MemoryNetwork, MemoryPort, MemoryReactor, host_name, make_grape, make_grapes

__all__ = ["HeapClock", "MemoryNetwork", "MemoryPort", "MemoryReactor", "host_name", "make_grape", "make_grapes"]
