"""Finds out under which IPv4 address other nodes know this one: from their answers, else from the interface.

An answer carries the address that its node sees us at (BEP 42's ``ip``). Only a majority counts: a single node could
lie, and a node on another of our networks sees another address. Each host has one vote, however many nodes run on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

from grape.dht.addresses import scope
from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address

# A majority counts if at least so many contacts voted.
MIN_VOTES = 3
MAX_VOTES = 64
# Longer than the pause between two refreshes of the routing table, in which all contacts nearby are asked.
VOTE_SECONDS = 1_200.0

OnChange = Callable[[str | None], object]

log = Logger(namespace="grape.node")


class OwnAddress:
    """The address under which other hosts reach this node; None while it is not known, or only loopback is.

    ``interface()`` returns the IPv4 address of the interface that the node uses, None if there is none at this time.
    Times are seconds on any steady clock.
    """

    def __init__(self, interface: Callable[[], str | None]) -> None:
        self._interface = interface
        self._at_interface: str | None = None
        # For each contact the address that it saw us at last, and when.
        self._votes: BoundedDict[Address, tuple[str, float]] = BoundedDict(MAX_VOTES)
        self._host: str | None = None
        self._callbacks: list[OnChange] = []

    @property
    def host(self) -> str | None:
        """The IPv4 address, dotted, at the time of the last ``look``."""
        return self._host

    def on_change(self, callback: OnChange) -> None:
        """Calls ``callback(host)`` at each change from now on, the first time that the address is known included."""
        self._callbacks.append(callback)

    def told(self, told_by: Address, ip: str, now: float) -> None:
        """Counts the vote of the contact at ``told_by``, which sees us at ``ip``; its earlier one counts no more."""
        if _is_reachable(ip):
            self._votes.put(told_by, (ip, now))

    def forget(self, contact: Address) -> None:
        """Drops the vote of a contact that was dropped."""
        self._votes.pop(contact, None)

    def look(self, now: float) -> None:
        """Decides on the address anew, and calls back if it has changed; to be called every few seconds."""
        found = self._interface()
        # While the network is down the address from before is kept: most often it is the next one, too.
        if found is not None and found != self._at_interface and _is_reachable(found):
            if self._at_interface is not None:
                # The votes are about the address from before.
                self._votes.clear()
            self._at_interface = found
        host = self._majority(now) or self._at_interface
        if host == self._host:
            return
        self._host = host
        for callback in self._callbacks:
            try:
                callback(host)
            except Exception:
                log.failure("callback {callback} at a change of the own address raised", callback=callback)

    def _majority(self, now: float) -> str | None:
        """Returns the address for which more than half of the hosts vote, each with its contact's newest vote."""
        for contact in [contact for contact, (_, at) in self._votes.items() if now - at >= VOTE_SECONDS]:
            del self._votes[contact]
        if len(self._votes) < MIN_VOTES:
            return None
        # The oldest vote comes first: that of each host's newest stays.
        by_host = {contact[0]: ip for contact, (ip, _) in self._votes.items()}
        ip, votes = Counter(by_host.values()).most_common(1)[0]
        return ip if 2 * votes > len(by_host) else None


def _is_reachable(host: str) -> bool:
    try:
        return scope(host) in ("private", "global")
    except ValueError:
        return False
