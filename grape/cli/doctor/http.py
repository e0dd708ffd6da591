"""Asks the HTTP APIs of grapes what a doctor wants to know: their status, their contacts, lookups, an announce."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from grape.cli import documents
from grape.cli.doctor.facts import Api, Lookup, SelfTest, Step
from grape.cli.doctor.told import told_of
from grape.cli.doctor.udp import PEER_PORT, new_name
from grape.client.answers import Answer, document
from grape.client.errors import NotSupportedError, UnreachableError
from grape.client.httpx_clients import failure_text, new_client
from grape.errors import GrapeError

if TYPE_CHECKING:
    import httpx

MAX_CONTACTS = 1_000
MAX_NAMES = 5_000
#: An HTTP Date has whole seconds.
DATE_ERROR_SECONDS = 1.0
SELF_TEST_TTL_SECONDS = 10.0


class GrapeApi:
    """The HTTP API of one grape; ``seconds`` is the time to wait for an answer."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self._seconds = seconds
        self._link = documents.connect([url], seconds)

    def close(self) -> None:
        """Closes the connections."""
        self._link.close()

    def api(self) -> Api:
        """Returns what the grape tells of itself, with the offset of its clock."""
        with new_client([self.url]) as client:
            asked_at = time.time_ns() / 1e9
            try:
                answer = client.get(f"{self.url.rstrip('/')}/status", timeout=self._seconds)
            except Exception as error:
                return Api(self.url, failure_text(error))
            answered_at = time.time_ns() / 1e9
        middle, half = (asked_at + answered_at) / 2, (answered_at - asked_at) / 2
        date = _date(answer)
        if answer.status_code == 403:
            return Api(self.url, answer.text.strip(), is_refused=True)
        try:
            told = told_of(document(Answer(answer.status_code, answer.content), call="status"))
        except NotSupportedError:
            ahead = date + DATE_ERROR_SECONDS / 2 - middle if date is not None else None
            return Api(
                self.url,
                "it does not tell its status: it is a Node grape, or an older one",
                is_without_status=True,
                clock_ahead=ahead,
                clock_error=half + DATE_ERROR_SECONDS,
            )
        except GrapeError as error:
            return Api(self.url, f"no grape answers there: {error}")
        ahead = told.time - middle if told.time is not None else None
        return Api(self.url, told=told, clock_ahead=ahead, clock_error=half)

    def contacts(self) -> list[tuple[str, bytes]]:
        """Returns the address and the id of each contact. Raises GrapeError, ValueError."""
        entries = documents.nodes(self._link, MAX_CONTACTS).entries
        return [(entry["address"], bytes.fromhex(entry["id"])) for entry in entries]

    def names(self) -> list[str]:
        """Returns the names of services that the grape holds; none if it does not tell."""
        try:
            return [entry["name"] for entry in documents.services(self._link, MAX_NAMES).entries]
        except GrapeError:
            return []

    def holds(self, name: str) -> bool | None:
        """Returns True if the grape holds peers of a service itself; None if it does not tell."""
        try:
            return bool(documents.services(self._link, 1, name).entries)
        except GrapeError:
            return None

    def find(self, name: str) -> tuple[str, ...] | None:
        """Looks a service up; None if that fails."""
        try:
            return tuple(self._link.lookup(name))
        except GrapeError:
            return None

    def lookup(self, name: str) -> Lookup:
        """Looks a service up, and tells how that went where the grape can."""
        try:
            trace = documents.trace_of_service(self._link, name)
        except NotSupportedError:
            try:
                return Lookup(name, peers=tuple(self._link.lookup(name)))
            except GrapeError as error:
                return Lookup(name, error=_said(error))
        except GrapeError as error:
            return Lookup(name, error=_said(error))
        steps = tuple(Step(step["address"], step["answered_at"] is not None) for step in trace["steps"])
        return Lookup(name, peers=tuple(trace["peers"]), steps=steps, is_complete=trace["complete"])

    def self_test(self, others: list[GrapeApi]) -> SelfTest:
        """Announces a name made up for it, looks it up here and at other grapes, and withdraws it."""
        name = new_name()
        try:
            try:
                stored = self._link.announce(name, PEER_PORT, ttl=SELF_TEST_TTL_SECONDS)
            except UnreachableError:
                raise
            except GrapeError:
                # It may be that this grape does not know how long.
                stored = self._link.announce(name, PEER_PORT)
        except GrapeError as error:
            return SelfTest(error=_said(error))
        peers = {api.url: api.find(name) for api in (self, *others)}
        found = {url: bool(some) for url, some in peers.items() if some is not None}
        with suppress(GrapeError):
            self._link.unannounce(name, PEER_PORT)
        return SelfTest(
            stored,
            found_by=tuple(url for url, was_found in found.items() if was_found),
            missed_by=tuple(url for url, was_found in found.items() if not was_found),
        )


def _date(answer: httpx.Response) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None


def _said(error: GrapeError) -> str:
    return "; ".join(dict.fromkeys(error.failures)) if isinstance(error, UnreachableError) else str(error)
