"""Chooses the state file of a process, and waits for one that another process is about to give back.

Under 60 lines: only our own processes have a default state file and wait for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import attrs

from grape.config import Config
from grape.state.lock import StateInUse, holder_of

# A grape needs 2 s to stop; it gives its state file back last.
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05


def with_state_file(config: Config, environment: Mapping[str, str]) -> tuple[Config, bool]:
    """Returns the config with a state file, and True if nobody asked for that file.

    A file that ``--state`` names stays; with a port for the system to choose there is no file. In $STATE_DIRECTORY,
    which systemd sets where a unit has StateDirectory=, the file is asked for. Otherwise it is in the working
    directory: twistd's --rundir.
    """
    if config.state is not None or config.dht_port == 0:
        return config, False
    # The variable is a list, usually of one.
    folder = next(filter(None, environment.get("STATE_DIRECTORY", "").split(":")), "")
    return attrs.evolve(config, state=os.path.join(folder, f"grape-{config.dht_port}.sqlite")), not folder


def wait_for(path: str, say: Callable[[str], object], seconds: float = WAIT_SECONDS) -> None:
    """Waits until no other process has the state file at ``path``; blocks the process.

    ``say(line)`` is told at once who has the file, and when it is free. Raises StateInUse after ``seconds``; with 0 at
    once.
    """
    holder = holder_of(path)
    if holder is None:
        return
    path = os.path.realpath(path)
    if seconds > 0:
        say(f"state file {path} is in use by {holder}; waiting up to {seconds:g} s for it")
    ends = time.monotonic() + seconds
    while (latest := holder_of(path)) is not None:
        if time.monotonic() >= ends:
            raise StateInUse(path, f"in use by {latest}")
        time.sleep(POLL_SECONDS)
    say(f"state file {path} is free; starting")
