"""Keeps time across restarts: state seconds go on while the process is down.

Each commit notes the state seconds beside what the machine's clocks say. At the next start the clock since boot tells
how long ago that was, however the wall clock was set meanwhile. After a reboot the wall clock is trusted, but never
allowed to run backwards.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import attrs

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# No clock shows more. In wall seconds this is from the year 68 to 3871: ``datetime`` can show every such moment.
MAX_CLOCK_SECONDS = 60e9


@attrs.frozen
class Moment:
    """One reading of the machine's clocks.

    ``wall`` is in seconds since 1970, ``since_boot`` in seconds since the boot with the id ``boot``. Where the system
    has no such clock, ``boot`` is "" and ``since_boot`` 0.
    """

    wall: float
    boot: str
    since_boot: float

    @classmethod
    def now(cls) -> Moment:
        """Reads the machine's clocks."""
        clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        try:
            boot = _BOOT_ID.read_text().strip() if clock is not None else ""
        except OSError:
            boot = ""
        since_boot = time.clock_gettime(clock) if clock is not None and boot else 0.0
        # After a reboot no other clock tells how long the machine was down.
        return cls(time.time(), boot, since_boot)  # noqa: TID251

    def seconds_since(self, then: Moment) -> float:
        """Returns the seconds from ``then`` to this moment, never less than 0."""
        if self.boot and self.boot == then.boot:
            return max(self.since_boot - then.since_boot, 0.0)
        return max(self.wall - then.wall, 0.0)


@attrs.frozen
class Heartbeat:
    """The state seconds at a moment, as every commit notes them."""

    seconds: float
    moment: Moment

    def to_text(self) -> str:
        """Returns the heartbeat as JSON: ``[seconds, wall, boot, since_boot]``."""
        moment = self.moment
        return json.dumps([self.seconds, moment.wall, moment.boot, moment.since_boot])

    @classmethod
    def from_text(cls, text: object) -> Heartbeat | None:
        """Converts the result of ``to_text`` back; returns None for anything else."""
        try:
            seconds, wall, boot, since_boot = json.loads(str(text))
            times = float(seconds), float(wall), float(since_boot)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        # This is False for "not a number", too.
        if not all(abs(time) < MAX_CLOCK_SECONDS for time in times):
            return None
        return cls(times[0], Moment(times[1], str(boot), times[2]))

    def seconds_at(self, moment: Moment) -> float:
        """Returns the state seconds at a later moment."""
        return self.seconds + moment.seconds_since(self.moment)
