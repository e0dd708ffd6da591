"""The Node grape's debug lines: on stderr, when the environment's DEBUG asks for ``grenache:grape``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase

NAMESPACE = "grenache:grape"


def is_wanted(setting: str) -> bool:
    """Whether a DEBUG setting (names with ``*``, separated by commas or spaces, ``-`` to except) asks for us."""
    names = [name for name in re.split(r"[\s,]+", setting) if name]
    excepted = any(fnmatchcase(NAMESPACE, name[1:]) for name in names if name.startswith("-"))
    return not excepted and any(fnmatchcase(NAMESPACE, name) for name in names)


def tracer(environment: Mapping[str, str]) -> Callable[[str], object] | None:
    """What prints debug lines, or None if they are not wanted."""
    return write_line if is_wanted(environment.get("DEBUG", "")) else None


def write_line(text: str) -> None:
    """One line as the ``debug`` package of Node writes it when stderr is not a terminal."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sys.stderr.write(f"{now} {NAMESPACE} {text}\n")
    sys.stderr.flush()
