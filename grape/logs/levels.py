"""Decides which lines are logged: by the level of all, and by those of single packages.

The levels can be changed while the process runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted.logger import ILogFilterPredicate, LogEvent, LogLevel, LogLevelFilterPredicate, PredicateResult
from zope.interface import implementer

# twisted.web logs every idle connection that it closes, Twisted's old log the opening and closing of every port.
QUIET: Mapping[str, LogLevel] = {"twisted.web": LogLevel.warn, "log_legacy": LogLevel.warn}
PACKAGES = ("grape.krpc", "grape.node", "grape.web", "grape.state", "grape.daemon")

# Those of PACKAGES whose debug lines are written somewhere.
_debugged: set[str] = set()


def is_debugged(package: str) -> bool:
    """Returns True if the debug lines of a package are logged: to make one that nobody reads takes 13 us.

    Only for lines that a stranger can cause at will; others are logged, and left out by ``Levels``.
    """
    return package in _debugged


@implementer(ILogFilterPredicate)
class Levels:
    """Filters events by ``levels``: "info" for all, "grape.krpc=debug" for a logger and those below it.

    The last level for all counts; without one it is info. An event with ``is_answer=True`` passes always: an operator
    has asked for it.
    """

    def __init__(self, levels: Iterable[str]) -> None:
        self._predicate = LogLevelFilterPredicate()
        self.set(levels)

    def __call__(self, event: LogEvent) -> object:
        """Returns twisted.logger's PredicateResult."""
        return PredicateResult.yes if event.get("is_answer") else self._predicate(event)

    def set(self, levels: Iterable[str]) -> None:
        """Filters by other levels from now on."""
        default, of_loggers = LogLevel.info, dict(QUIET)
        for level in levels:
            name, equals, word = level.rpartition("=")
            if equals:
                of_loggers[name] = LogLevel.levelWithName(word)
            else:
                default = LogLevel.levelWithName(word)
        if default > LogLevel.warn:
            of_loggers = {name: max(level, default) if name in QUIET else level for name, level in of_loggers.items()}
        predicate = LogLevelFilterPredicate(defaultLogLevel=default)
        for name, level in of_loggers.items():
            predicate.setLogLevelForNamespace(name, level)
        self._predicate = predicate
        _debugged.clear()
        _debugged.update(package for package in PACKAGES if predicate.logLevelForNamespace(package) is LogLevel.debug)
