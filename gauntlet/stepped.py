"""Runs a node whose wall clock jumps: ``python -m gauntlet.stepped STEPS FLAGS...``, one step at every SIGUSR1.

STEPS are seconds, separated by commas. The clock is patched before Twisted is imported.
"""

from __future__ import annotations

import signal
import sys
import time


def main() -> None:
    """Patches the clock, then runs a node with the flags of the command line."""
    steps = [float(step) for step in sys.argv[1].split(",")]
    wall = vars(time)["time"]
    offset = 0.0

    def stepped() -> float:
        return float(wall() + offset)

    def step(number: int, frame: object) -> None:
        nonlocal offset
        offset += steps.pop(0) if steps else 0.0

    vars(time)["time"] = stepped
    vars(time)["time_ns"] = lambda: int(stepped() * 1e9)
    signal.signal(signal.SIGUSR1, step)
    from grape.cli import main as grape

    grape(sys.argv[2:])


if __name__ == "__main__":
    main()
