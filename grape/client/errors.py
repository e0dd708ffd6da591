"""Defines the errors of calls: those that a grape tells, by its code, and those that the client finds itself.

A grape's own errors are ``grape.GrapeError``, as those of an embedded ``Grape`` are; all here are kinds of it::

    try:
        await link.put_mutable(private_key, "words", seq=7)
    except GrapeError as error:
        print(error.code, error.status)        # 302 sequence number less than current 302

Imports no more than ``grape.errors``, so that whoever handles errors loads no HTTP client.
"""

from __future__ import annotations

from collections.abc import Sequence

from grape.errors import GrapeError

# A grape's text for a path that it does not have.
NOT_FOUND = "ERR_REQ_NOTFOUND"


class ClientError(GrapeError):
    """An error that no grape told: ``code`` is the kind, ``detail`` says more, ``status`` is 0."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, 0)
        self.detail = detail

    def __str__(self) -> str:
        """Returns the code and the detail in one line."""
        return f"{self.code}: {self.detail}"


class UnreachableError(ClientError):
    """No grape answered. ``failures`` are lines such as ``http://127.0.0.1:30001: connection refused``."""

    def __init__(self, failures: Sequence[str], code: str = "ERR_GRAPE_UNREACHABLE") -> None:
        # A grape may have been asked several times with the same end.
        super().__init__(code, "; ".join(dict.fromkeys(failures)) or "no grape was asked")
        self.failures = tuple(failures)


class DeadlineError(UnreachableError):
    """No grape answered before the deadline of the call. The code is the Node link's, ``ERR_TIMEOUT``."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__(failures, "ERR_TIMEOUT")


class AnswerError(ClientError):
    """A grape answered what the API does not answer, or (``SignatureError``) an item whose signature is wrong."""

    def __init__(self, detail: str, code: str = "ERR_CLIENT_ANSWER") -> None:
        super().__init__(code, detail)


class SignatureError(AnswerError):
    """A grape answered an item that is not signed with the key. Another grape may have the right one."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, "ERR_CLIENT_SIGNATURE")


class NotSupportedError(GrapeError):
    """None of the grapes has this call: an older grape, or a Node grape. The code is ``ERR_REQ_NOTFOUND``."""

    def __init__(self, call: str) -> None:
        super().__init__(NOT_FOUND)
        self.call = call

    def __str__(self) -> str:
        """Returns the code and the name of the call."""
        return f"{self.code}: the grape has no call {self.call!r}"
