"""``python -m benchmarks.manygrapes SETTINGS``: many grapes in one process; ``node/many.js`` is the reference's.

Prints one line of JSON: the seconds from the start to the last ready, and the milliseconds of each lookup and the
seconds of all, so many at once, of new names.
"""

from __future__ import annotations

import json
import sys
import time
from hashlib import sha1
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from grape import Grape
from grape.reactor import use_monotonic_clock

HOST = "127.0.0.1"


async def run(reactor: Any, settings: dict[str, Any]) -> None:
    """What many.js does, with the same settings."""
    ports, lookups, seconds = settings["ports"], settings["lookups"], settings["seconds"]
    use_monotonic_clock(reactor)
    began = time.monotonic()
    grapes = [
        Grape(dht_port, [(HOST, ports[0][0])] if index else [], api_port, host=HOST, reactor=reactor)
        for index, (dht_port, api_port) in enumerate(ports)
    ]
    for grape in grapes:
        grape.startService()
    await gatherResults([grape.when_ready() for grape in grapes])
    result: dict[str, Any] = {"ready": time.monotonic() - began}
    if seconds:
        await task.deferLater(reactor, settings["settle"], lambda: None)
        await grapes[0].announce("many:check", 1337)
        result["check"] = await grapes[-1].lookup("many:check")
        number = 0

        def one() -> Deferred[float]:
            nonlocal number
            name = sha1(b"many:%d" % number).hexdigest()
            grape = grapes[number * 7 % len(grapes)]
            number += 1
            begun = time.monotonic()
            return grape.lookup(name).addCallback(lambda _: (time.monotonic() - begun) * 1000)

        async def all_for(limit: float) -> dict[str, Any]:
            times: list[float] = []
            begun = time.monotonic()
            while time.monotonic() - begun < limit:
                times += await gatherResults([one() for _ in range(lookups)])
            return {"times": times, "seconds": time.monotonic() - begun}

        await all_for(seconds / 3)
        result |= await all_for(seconds)
    await gatherResults([grape.stopService() for grape in grapes])
    sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """The process."""
    settings = json.loads(sys.argv[1])
    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor, settings)))


if __name__ == "__main__":
    main()
