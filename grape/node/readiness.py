"""Decides whether a grape should be given work, and says what it lacks: pure, for health checks and status lines.

A grape that cannot reach its network answers lookups from what it holds itself, which looks like success to its
clients. So it is not ready, and a load balancer can send them to another one.
"""

from __future__ import annotations

from typing import NamedTuple

from grape.logs import counted

OK = "ok"
STOPPING = "stopping"
JOINING = "joining"
ISOLATED = "isolated"
DEGRADED = "degraded"
READY = "ready"


# Named tuples, which take a fifth of the time of attrs classes at a start.


class Check(NamedTuple):
    """One thing that a grape needs. ``state`` is "ok" or the word for what is missing, ``text`` a sentence for it."""

    #: "process", "network" or "state".
    name: str
    state: str
    text: str


class Readiness(NamedTuple):
    """Holds what was checked; ``is_ready`` is True for a grape that should be given work."""

    checks: tuple[Check, ...]
    is_ready: bool

    @property
    def problems(self) -> tuple[str, ...]:
        """The words for what is missing, the gravest first: stopping, joining, isolated, degraded."""
        return tuple(check.state for check in self.checks if check.state != OK)

    @property
    def status(self) -> str:
        """The gravest problem in a word; "ready" if there is none."""
        return next(iter(self.problems), READY)

    @property
    def is_strictly_ready(self) -> bool:
        """True if the grape is ready and its state is written to its file, if it has one."""
        return self.is_ready and DEGRADED not in self.problems


def assess(
    *,
    is_running: bool,
    is_stopping: bool,
    is_joining: bool,
    is_isolated: bool,
    may_be_isolated: bool,
    contacts: int,
    bootstrap_nodes: int,
    has_state_file: bool,
    degraded: str | None,
) -> Readiness:
    """Returns what a grape lacks.

    ``bootstrap_nodes`` are those configured that are not the grape itself. ``degraded`` says why state is not on the
    disk, None while it is or none is kept. With ``may_be_isolated`` isolation costs no readiness.
    """
    process = _process(is_running, is_stopping)
    network = _network(is_joining, is_isolated, counted(contacts, "contact") if contacts else "", bootstrap_nodes)
    is_reachable = network.state == OK or (network.state == ISOLATED and may_be_isolated)
    return Readiness((process, network, _state(has_state_file, degraded)), process.state == OK and is_reachable)


def _process(is_running: bool, is_stopping: bool) -> Check:
    if is_running and not is_stopping:
        return Check("process", OK, "the grape runs")
    return Check("process", STOPPING, "the grape is about to stop" if is_running else "the grape does not run")


def _network(is_joining: bool, is_isolated: bool, contacts: str, bootstrap_nodes: int) -> Check:
    if not bootstrap_nodes:
        return Check("network", OK, f"{contacts or 'alone'}; it was given no other nodes to join, so it may be alone")
    if not is_isolated:
        return Check("network", OK, f"{contacts}, at least one of which answers")
    nodes = counted(bootstrap_nodes, "bootstrap node")
    if is_joining:
        return Check("network", JOINING, f"it joins the network: {nodes} asked, none has answered yet")
    silent = f"none of {contacts} answers" if contacts else "there are no contacts"
    return Check("network", ISOLATED, f"{silent}; {nodes} asked again and again")


def _state(has_file: bool, degraded: str | None) -> Check:
    if degraded is not None:
        return Check("state", DEGRADED, f"state is not on the disk: {degraded}")
    return Check("state", OK, "state is written to its file" if has_file else "no state is kept")
