"""The error of Grenache's calls."""

from __future__ import annotations


class GrapeError(Exception):
    """A call that cannot be served: ``code`` is Grenache's text, ``status`` the HTTP status that it travels with."""

    def __init__(self, code: str, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


def not_running() -> GrapeError:
    """The error of a call to a grape that is not running."""
    return GrapeError("ERR_GRAPE_NOT_RUNNING", 503)
