"""Makes the lines of the log: text or JSON, of which levels, repeated ones counted; and the Node grape's debug lines.

``process.py`` is the log of a process of its own. An embedded grape only logs, by twisted.logger, under these names:
grape.krpc, grape.node, grape.web, grape.state and grape.daemon.
"""

from grape.logs.trace import NAMESPACE, is_wanted, tracer, write_line

__all__ = ["NAMESPACE", "counted", "is_wanted", "tracer", "write_line"]


def counted(number: int, one: str, many: str = "") -> str:
    """Returns a number with its noun: "1 contact", "2,000 contacts"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
