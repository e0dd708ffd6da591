"""Fits a process and its HTTP connections to the number of descriptors that the system allows (RLIMIT_NOFILE).

Under 60 lines: it is the arithmetic of one limit.
"""

from __future__ import annotations

import resource
from contextlib import suppress

# For the new connections of one turn of the reactor, other sockets, state file, log, name resolution and what the
# interpreter opens.
RESERVED_DESCRIPTORS = 64
# select() knows no descriptor from this number on.
MAX_SELECT_DESCRIPTORS = 1_024
# macOS says "unlimited", and refuses to set more than this.
MAX_DARWIN_DESCRIPTORS = 10_240


def raise_descriptor_limit(reactor: object) -> int:
    """Raises the soft limit of descriptors to the hard one; returns how many the process may then use.

    resource.RLIM_INFINITY: no limit. A ``reactor`` that calls select() uses fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, MAX_DARWIN_DESCRIPTORS):
        if _is_more(limit, soft) and not _is_more(limit, hard):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    is_limited = type(reactor).__name__ == "SelectReactor" and _is_more(descriptors, MAX_SELECT_DESCRIPTORS)
    return MAX_SELECT_DESCRIPTORS if is_limited else descriptors


def connection_limit(max_connections: int, descriptors: int) -> int:
    """Returns how many HTTP connections a process may have: ``max_connections``, or fewer with few ``descriptors``.

    ``descriptors`` is the number that the process may open in all, resource.RLIM_INFINITY without a limit. Of a
    number below twice RESERVED_DESCRIPTORS connections get half.
    """
    if descriptors == resource.RLIM_INFINITY:
        return max_connections
    return max(min(max_connections, max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)), 1)


def _is_more(limit: int, than: int) -> bool:
    if than == resource.RLIM_INFINITY:
        return False
    return limit == resource.RLIM_INFINITY or limit > than
