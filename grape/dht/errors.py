"""Defines the errors of KRPC: this program's misuse, invalid messages, and queries without a useful response."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """Raised when this program asks for something that the protocol cannot express: a bug here, not a remote fault."""


class RemoteProtocolError(Exception):
    """Raised for a message that violates the protocol.

    ``code`` is the KRPC error code to answer with (BEP 5: 201-204; BEP 44: 205-207, 301, 302), ``transaction_id`` the
    sender's ``t``, ``None`` if it sent none. ``answerable`` is true for a query, which gets an error back; any other
    invalid datagram is dropped.
    """

    def __init__(
        self,
        code: int,
        message: str,
        transaction_id: object = None,
        *,
        answerable: bool = True,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.transaction_id = transaction_id
        self.answerable = answerable

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class QueryFailed(Exception):
    """Reports that a query got no useful response."""


class AnsweredByOurselves(QueryFailed):
    """Reports a response with our own id: the queried address is this node's."""


class Overloaded(QueryFailed):
    """Reports that no lookup is started, because too many queries are in flight."""


class QueryTimeout(QueryFailed):
    """Reports that the node did not answer in time."""


class RemoteError(QueryFailed):
    """Reports that the node answered with a KRPC error: ``code`` and ``message`` as it sent them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code} {self.message}"
