"""Connects a link to grapes of the in-memory network: real requests and answers, without sockets."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Unpack, cast

import attrs
from twisted.internet.defer import Deferred, succeed

from grape.client.core import Keywords
from grape.client.twisted import Link
from grape.client.twisted_call import Response
from grape.reactor import Clock
from grape.service import Grape
from grape.testing.network import MemoryNetwork

# How often the two ends of a connection are given what the other one sent, in virtual time.
FLUSH_SECONDS = 0.001


def make_link(network: MemoryNetwork, *grapes: Grape, **settings: Unpack[Keywords]) -> Link:
    """Returns Twisted's link to grapes of the network, in the order of preference, with the network's clock.

    ``settings`` are the keywords of ``Link``. The link needs not be closed::

        link = make_link(network, grapes[0])
        assert network.result(link.lookup("rest:util:net")) == ["10.0.0.1:1337"]
    """
    urls = {f"http://grape-{number}": grape for number, grape in enumerate(grapes, 1)}
    # They announce under their own addresses, whichever URL comes first.
    own: Keywords = {"announce_through": list(urls), **settings}
    return Link(urls, http=_Requester(urls, network.clock), reactor=network.clock, **own)


class _Requester:
    """Sends requests to the resources of grapes, by their URLs."""

    def __init__(self, grapes: dict[str, Grape], clock: Clock) -> None:
        # Imported here, because it takes longer than all else of this package.
        from treq.testing import StubTreq

        self._stubs = {url: StubTreq(grape.resource(access=None)) for url, grape in grapes.items()}
        self._clock = clock

    def request(self, method: str, url: str, **options: Any) -> Deferred[_Response]:
        stub = cast("Any", self._stubs["/".join(url.split("/")[:3])])
        answered = Deferred.fromCoroutine(_read(stub.request(method, url, **options)))

        def flush() -> None:
            stub.flush()
            if not answered.called:
                self._clock.callLater(FLUSH_SECONDS, flush)

        flush()
        return answered


@attrs.frozen
class _Response:
    """Holds a response that is read to its end."""

    code: int
    body: bytes

    def content(self) -> Deferred[bytes]:
        return succeed(self.body)


async def _read(answered: Awaitable[Response]) -> _Response:
    response = await answered
    return _Response(response.code, await response.content())
