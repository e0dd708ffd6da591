"""Defines the errors that users of a grape meet.

Short on purpose: every package above the pure core imports this module, so it imports nothing of ours.
"""

from __future__ import annotations


class GrapeError(Exception):
    """A call that cannot be served: ``code`` is Grenache's text, ``status`` the HTTP status that it travels with."""

    def __init__(self, code: str, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class ConfigError(ValueError):
    """A setting that no grape can run with: ``name`` as the caller wrote it, ``problem`` says what it takes instead.

    ``str()`` is both in one line: ``dht_port takes a whole number from 0 to 65535, not 70000``.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


def not_running() -> GrapeError:
    """Returns the error of a call to a grape that is not running."""
    return GrapeError("ERR_GRAPE_NOT_RUNNING", 503)
