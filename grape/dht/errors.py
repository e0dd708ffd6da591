"""What can go wrong between this node and another one."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """This program asked for something that the protocol cannot say: a bug here, never the peer's doing."""


class RemoteProtocolError(Exception):
    """What a peer sent is not the protocol.

    ``code`` is the KRPC error code to answer with (BEP 5: 201-204; BEP 44: 205-207, 301, 302), ``transaction_id``
    what the peer put under ``t``, ``None`` if it sent none. ``answerable`` says whether an answer is due at all:
    garbage is dropped, a query that can be told apart is answered.
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
    """A query got no useful answer."""


class AnsweredByOurselves(QueryFailed):
    """The answer carries our own id: the address that was asked is this node's."""


class Overloaded(QueryFailed):
    """So many queries are in flight that no new lookup is begun."""


class QueryTimeout(QueryFailed):
    """The peer did not answer in time."""


class RemoteError(QueryFailed):
    """The peer answered with a KRPC error: ``code`` and ``message`` as it sent them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code} {self.message}"
