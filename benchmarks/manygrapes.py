"""Runs many grapes in one process: ``python -m benchmarks.manygrapes SETTINGS``; ``node/many.js`` is the reference's.

SETTINGS is a JSON object: "ports" lists [DHT port, HTTP port] of each grape, "lookups" is how many run at a time,
"seconds" for how long (0: none), "settle" a pause before them, in seconds. Prints one line of JSON: "ready", the
seconds from the start to the last ready; "times", the milliseconds of each lookup; "seconds", those of all together;
"check", what the lookup of an announced name returned.
"""

from __future__ import annotations

import json
import sys
import time
from hashlib import sha1
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from gauntlet.machine import HOST
from grape import Grape
from grape.reactor import use_monotonic_clock


async def run(reactor: Any, settings: dict[str, Any]) -> None:
    """Does what many.js does with the same settings."""
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
    """Runs the grapes."""
    settings = json.loads(sys.argv[1])
    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor, settings)))


if __name__ == "__main__":
    main()
