"""Defines the facts that checks judge: what a grape told, and what nodes answered over UDP.

Addresses are "host:port", node ids 40 hex digits, times seconds.
"""

from __future__ import annotations

import attrs

from grape.cli.doctor.told import Told

ANSWERED = "answered"
#: An ICMP message said that no process listens there.
REFUSED = "refused"
SILENT = "silent"
#: The query could not be sent: ``problem`` says why.
UNSENT = "unsent"


@attrs.frozen
class Api:
    """Holds what the HTTP API of a grape answered."""

    url: str
    #: Why it gave no status: not reached, refused, or none is known there.
    problem: str | None = None
    #: True if it answers, but has no status: a Node grape, or an older one.
    is_without_status: bool = False
    #: True if the grape refused the call because of its Host header.
    is_refused: bool = False
    told: Told = attrs.field(factory=Told)
    #: How far its clock is ahead of this machine's, give or take ``clock_error``; None: not known.
    clock_ahead: float | None = None
    clock_error: float = 0.0

    @property
    def answers(self) -> bool:
        """True if a grape answers there."""
        return self.problem is None or self.is_without_status


@attrs.frozen
class Probe:
    """The outcome of pings of an address."""

    address: str
    outcome: str
    problem: str | None = None
    node_id: str | None = None
    #: True if it is a grape of this kind, by the ``v`` of its answer.
    is_ours: bool = False
    #: What answers there by TCP: "HTTP", "TCP"; None: nothing. Only asked where UDP is not answered.
    by_tcp: str | None = None
    #: Another "host:port" of the same host at which a node answers.
    instead: str | None = None

    @property
    def is_answered(self) -> bool:
        """True if it answered."""
        return self.outcome == ANSWERED


@attrs.frozen
class Entry:
    """A configured bootstrap node: what its name resolves to, and who answers there."""

    text: str
    #: Why it is not resolved.
    problem: str | None = None
    probes: tuple[Probe, ...] = ()
    #: Why it was not asked from here.
    skipped: str | None = None


@attrs.frozen
class Kept:
    """How long a contact lists peers, told by announces with an age."""

    #: True if it listed a peer whose age is a little below this grape's; one whose age is a little above.
    keeps_younger: bool
    keeps_older: bool
    #: About how long it lists a peer, where that is less than this grape does.
    about: float | None = None


@attrs.frozen
class Contact:
    """A contact of the grape that was asked for the nodes close to the grape's id."""

    address: str
    outcome: str
    is_ours: bool = False
    #: The addresses under which it lists the grape's id.
    lists: tuple[str, ...] = ()
    #: True if a datagram of ``udp.LARGE_BYTES`` was answered; None: not tried.
    large: bool | None = None
    #: None: not tried.
    kept: Kept | None = None

    @property
    def is_answered(self) -> bool:
        """True if it answered."""
        return self.outcome == ANSWERED


@attrs.frozen
class Suspect:
    """An address at which a node answers with the grape's id."""

    address: str
    #: True if it is the grape itself, False if another node; None: that could not be found out.
    is_itself: bool | None


@attrs.frozen
class Step:
    """A node that a lookup asked."""

    address: str
    is_answered: bool


@attrs.frozen
class Lookup:
    """A lookup of a name, asked for or of the doctor's own."""

    name: str
    #: Why it failed.
    error: str | None = None
    peers: tuple[str, ...] = ()
    #: None: the grape cannot trace lookups.
    steps: tuple[Step, ...] | None = None
    is_complete: bool = True
    #: The peers that other grapes found, by their URL.
    elsewhere: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    #: Names of services that the grapes hold.
    names: tuple[str, ...] = ()


@attrs.frozen
class SelfTest:
    """An announce of a name made up for it, and lookups of it."""

    #: How many nodes have it; None: it failed.
    stored: int | None = None
    error: str | None = None
    #: The URLs of the grapes that found it, and of those that did not.
    found_by: tuple[str, ...] = ()
    missed_by: tuple[str, ...] = ()
    #: Why it was not made.
    skipped: str | None = None


@attrs.frozen
class Facts:
    """All that is known of the grape that is examined, the first of the URLs."""

    grape: Api
    #: Grapes to compare with.
    others: tuple[Api, ...] = ()
    #: True if the grape runs on this machine, in this network namespace.
    is_local: bool = True
    #: Pings of the grape's own addresses.
    own: tuple[Probe, ...] = ()
    bootstrap: tuple[Entry, ...] = ()
    #: The contacts that were asked: those closest to the grape's id. ``contact_count`` is the number of all.
    contacts: tuple[Contact, ...] = ()
    contact_count: int | None = None
    suspects: tuple[Suspect, ...] = ()
    #: Why nothing was announced to contacts.
    no_announces: str | None = None
    #: The bytes that are free where the state file is; None: not known.
    free_bytes: int | None = None
    lookup: Lookup | None = None
    self_test: SelfTest | None = None

    @property
    def told(self) -> Told:
        """The status that the grape told."""
        return self.grape.told

    @property
    def unknown(self) -> str:
        """The reason why what a grape tells of itself is not known."""
        if self.grape.is_without_status:
            return "a Node grape, or an older one, does not tell it"
        return "its HTTP API does not answer" if self.grape.problem is not None else "this version does not tell it"

    @property
    def node_id(self) -> str | None:
        """The grape's id, as it told it or answered over UDP; None: not known."""
        return self.told.node_id or next((probe.node_id for probe in self.own if probe.node_id), None)
