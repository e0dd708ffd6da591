"""Makes the lines of the log: text or JSON, of which levels, repeated ones counted.

Here are the Node grape's debug lines, which appear when DEBUG names ``grenache:grape``, as for programs that use Node's
``debug`` package. ``process.py`` is the log of a process of its own. An embedded grape only logs, by twisted.logger,
under these names: grape.krpc, grape.node, grape.web, grape.state and grape.daemon.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Self

NAMESPACE = "grenache:grape"


def is_wanted(setting: str) -> bool:
    """Returns True if a DEBUG setting asks for debug lines.

    ``setting`` has names, in which ``*`` stands for any text, with commas or spaces between them; ``-`` before a name
    takes it out again.
    """
    names = [name for name in re.split(r"[\s,]+", setting) if name]
    excepted = any(fnmatchcase(NAMESPACE, name[1:]) for name in names if name.startswith("-"))
    return not excepted and any(fnmatchcase(NAMESPACE, name) for name in names)


def tracer(environment: Mapping[str, str]) -> Callable[[str], object] | None:
    """Returns the function that writes debug lines, None if the environment does not ask for them."""
    return write_line if is_wanted(environment.get("DEBUG", "")) else None


def write_line(text: str) -> None:
    """Writes a line to stderr as Node's ``debug`` package does when stderr is not a terminal."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sys.stderr.write(f"{now} {NAMESPACE} {text}\n")
    sys.stderr.flush()


class Counted(int):
    """A number in a log event: with its noun in the text, as ``counted`` says it, and alone in JSON."""

    text: str

    def __new__(cls, number: int, one: str, many: str = "") -> Self:
        """Makes one of a number and its noun."""
        made = super().__new__(cls, number)
        made.text = counted(number, one, many)
        return made

    def __str__(self) -> str:
        """Returns the number with its noun."""
        return self.text


def counted(number: int, one: str, many: str = "") -> str:
    """Returns a number with its noun: "1 contact", "2,000 contacts"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
