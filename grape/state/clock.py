"""Time that goes on across restarts: state seconds, and how long a process was down.

Each commit notes the state seconds beside what the machine's clocks said. At the next start the clock since boot tells
how long that was ago: no step of the wall clock changes it. Only after a boot does the wall clock have to be believed,
and then never backwards.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import attrs

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# More is no clock's: from it to the year 3871, and back to the year 68, a date can be told.
MAX_CLOCK_SECONDS = 60e9


@attrs.frozen
class Moment:
    """What the machine's clocks say: seconds of the wall clock, and since the boot with this id ("" if not known)."""

    wall: float
    boot: str
    since_boot: float

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        try:
            boot = _BOOT_ID.read_text().strip() if clock is not None else ""
        except OSError:
            boot = ""
        since_boot = time.clock_gettime(clock) if clock is not None and boot else 0.0
        # After a boot it is all there is.
        return cls(time.time(), boot, since_boot)  # noqa: TID251

    def seconds_since(self, then: Moment) -> float:
        """How long ago another moment was, never negative."""
        if self.boot and self.boot == then.boot:
            return max(self.since_boot - then.since_boot, 0.0)
        return max(self.wall - then.wall, 0.0)


@attrs.frozen
class Heartbeat:
    """The state seconds of a moment."""

    seconds: float
    moment: Moment

    def to_text(self) -> str:
        """As it is kept."""
        moment = self.moment
        return json.dumps([self.seconds, moment.wall, moment.boot, moment.since_boot])

    @classmethod
    def from_text(cls, text: object) -> Heartbeat | None:
        """What ``to_text`` made; None if it is something else."""
        try:
            seconds, wall, boot, since_boot = json.loads(str(text))
            times = float(seconds), float(wall), float(since_boot)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        # Not a number is within no bounds.
        if not all(abs(time) < MAX_CLOCK_SECONDS for time in times):
            return None
        return cls(times[0], Moment(times[1], str(boot), times[2]))

    def seconds_at(self, moment: Moment) -> float:
        """The state seconds of a later moment."""
        return self.seconds + moment.seconds_since(self.moment)
