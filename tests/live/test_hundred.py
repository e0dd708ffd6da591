"""Tests a service among a hundred grapes, as grenache-grape's own tests do with fewer."""

from __future__ import annotations

import random
import sys
import time

from twisted.internet.defer import gatherResults

from tests.live.conftest import Embed, over_the_reactor
from tests.live.processes import HOST

GRAPES = 100
SEED = 20


@over_the_reactor
async def test_service_announced_to_one_of_a_hundred_grapes_is_found_by_all(embed: Embed) -> None:
    dice = random.Random(SEED)
    began = time.perf_counter()
    grapes = [await embed()]
    for _ in range(GRAPES - 1):
        grapes.append(await embed(dht_bootstrap=[(HOST, dice.choice(grapes).dht_port)]))
    started = time.perf_counter()

    assert await dice.choice(grapes).announce("rest:util:net", 1337) == 20
    announced = time.perf_counter()

    found = await gatherResults([grape.lookup("rest:util:net") for grape in grapes])
    assert found == [[f"{HOST}:1337"]] * GRAPES
    looked_up = time.perf_counter()

    sys.stdout.write(
        f"{GRAPES} grapes: started in {started - began:.2f} s, announced in {announced - started:.3f} s, "
        f"looked up by all in {looked_up - announced:.2f} s\n"
    )
