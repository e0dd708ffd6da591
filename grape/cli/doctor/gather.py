"""Gathers the facts about a grape: over HTTP from the grape and others, over UDP from the nodes that it knows."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from grape.cli.asking import DEFAULT_PORT, resolve
from grape.cli.doctor import udp
from grape.cli.doctor.facts import Contact, Entry, Facts, Lookup, Probe, SelfTest, Suspect
from grape.cli.doctor.http import GrapeApi
from grape.cli.doctor.told import Told
from grape.dht.addresses import is_loopback
from grape.dht.compact import Address
from grape.dht.nodeid import position
from grape.errors import GrapeError

T = TypeVar("T")
U = TypeVar("U")

MAX_ASKED = 8
# A marker is announced with so much of its age left.
MARKER_SECONDS = 5.0
MAX_THREADS = 32
ANY_HOST = "0.0.0.0"

#: The steps of an examination, in the order in which ``examine`` names them.
STEPS = ("HTTP", "UDP", "bootstrap nodes", "contacts", "node id", "lookup")


@attrs.frozen
class Settings:
    """Says what to examine: the grape at the first of ``urls``, with which the others are compared.

    ``name`` is the service whose lookup is empty; without it a name is made up and announced, if ``may_announce``.
    ``node`` is the UDP address of the grape, "host:port", where it does not tell it. ``seconds`` is the time to wait
    for an answer over HTTP, ``udp_seconds`` that over UDP.
    """

    urls: Sequence[str]
    name: str | None = None
    node: str | None = None
    may_announce: bool = True
    seconds: float = 10.0
    udp_seconds: float = 1.0


def examine(settings: Settings, begins: Callable[[str], object] = lambda step: None) -> Facts:
    """Returns the facts; ``begins(step)`` is called at each of STEPS. Raises ValueError for URLs that are none."""
    apis = [GrapeApi(url, settings.seconds) for url in dict.fromkeys(settings.urls)]
    with ThreadPoolExecutor(MAX_THREADS) as threads:
        try:
            return _Examination(settings, apis, threads, begins).facts()
        finally:
            for api in apis:
                api.close()


class _Examination:
    def __init__(
        self, settings: Settings, apis: list[GrapeApi], threads: ThreadPoolExecutor, begins: Callable[[str], object]
    ) -> None:
        self._settings = settings
        self._seconds = settings.udp_seconds
        self._api, self._others = apis[0], apis[1:]
        self._threads = threads
        self._begins = begins

    def facts(self) -> Facts:
        self._begins("HTTP")
        grape, *others = self._at_once(lambda api: api.api(), [self._api, *self._others])
        told = grape.told
        self._begins("UDP")
        hosts = _hosts_of(grape.url)
        is_local = bool(hosts) and all(map(udp.is_of_this_machine, hosts))
        own = self._at_once(self._ping, _own_addresses(told, hosts, self._settings.node, is_local))
        # A port of this machine may be that of a container.
        is_local = is_local and (told.is_read_only or any(probe.is_answered for probe in own))
        facts = Facts(grape, tuple(others), is_local, tuple(own))
        self._begins("bootstrap nodes")
        bootstrap = self._at_once(lambda text: self._entry(text, is_local, told), told.bootstrap or ())
        self._begins("contacts")
        count, contacts = self._contacts(facts)
        facts = attrs.evolve(
            facts,
            bootstrap=tuple(bootstrap),
            contacts=tuple(contacts),
            contact_count=count,
            no_announces=self._no_announces(told),
            free_bytes=_free_bytes(told.state_file) if is_local else None,
        )
        self._begins("node id")
        facts = attrs.evolve(facts, suspects=tuple(self._suspects(facts)))
        self._begins("lookup")
        return self._with_lookup(facts)

    # Bootstrap nodes

    def _entry(self, text: str, is_local: bool, told: Told) -> Entry:
        host = text.rpartition(":")[0]
        if not is_local and (host == "localhost" or is_loopback(host)):
            return Entry(text, skipped="it is on the grape's own host")
        try:
            addresses = resolve(text)
        except ValueError as error:
            return Entry(text, problem=_only_ipv6(host) or str(error))
        return Entry(text, probes=tuple(self._examined(address, told) for address in addresses))

    def _examined(self, address: Address, told: Told) -> Probe:
        probe = self._ping(address)
        if probe.is_answered:
            return probe
        ports = dict.fromkeys((_port_of(told.dht_address) or DEFAULT_PORT, DEFAULT_PORT))
        others = [(address[0], port) for port in ports if port != address[1]]
        instead = next((other for other in map(self._ping, others) if other.is_answered), None)
        return attrs.evolve(probe, by_tcp=udp.by_tcp(address), instead=instead.address if instead is not None else None)

    # Contacts

    def _contacts(self, facts: Facts) -> tuple[int | None, list[Contact]]:
        if facts.node_id is None:
            return None, []
        node_id = bytes.fromhex(facts.node_id)
        known = self._known(facts, node_id)
        if known is None:
            return None, []
        here = position(node_id)
        nearest = sorted(known, key=lambda contact: position(contact[1]) ^ here)
        reachable = [address for address, _ in nearest if facts.is_local or not is_loopback(address[0])]
        return len(known), self._at_once(lambda address: self._contact(address, node_id, facts), reachable[:MAX_ASKED])

    def _known(self, facts: Facts, node_id: bytes) -> list[tuple[Address, bytes]] | None:
        """Returns the contacts: as the grape lists them, or as it answers over UDP."""
        if facts.grape.problem is None:
            try:
                return [(_address(text), other) for text, other in self._api.contacts()]
            except (GrapeError, ValueError):
                return None
        probe = next((probe for probe in facts.own if probe.is_answered), None)
        if probe is None:
            return None
        _, _, nodes = udp.nodes_near(_address(probe.address), node_id, self._seconds)
        return [(address, other) for other, address in nodes if other != node_id]

    def _contact(self, address: Address, node_id: bytes, facts: Facts) -> Contact:
        outcome, reply, nodes = udp.nodes_near(address, node_id, self._seconds)
        contact = Contact(
            udp.text_of(address),
            outcome,
            udp.is_ours(reply),
            tuple(sorted(udp.text_of(at) for other, at in nodes if other == node_id)),
        )
        if not contact.is_answered:
            return contact
        max_age = facts.told.peer_max_age
        may_ask_age = contact.is_ours and max_age and self._settings.may_announce
        return attrs.evolve(
            contact,
            large=udp.answers_large(address, self._seconds),
            kept=udp.kept(address, max_age, self._seconds) if may_ask_age and max_age else None,
        )

    def _no_announces(self, told: Told) -> str | None:
        return None if self._settings.may_announce else "nothing was announced (--no-announce)"

    # Other nodes with the grape's id

    def _suspects(self, facts: Facts) -> list[Suspect]:
        own = {probe.address for probe in facts.own if facts.is_local}
        if facts.grape.problem is not None:
            # It tells neither its id nor what it holds: its answers over UDP are all that is known of it.
            own |= {probe.address for probe in facts.own}
        answered = {probe.address: probe for entry in facts.bootstrap for probe in entry.probes if probe.is_answered}
        listed = {address for contact in facts.contacts for address in contact.lists}
        urls = [other for other in facts.others if other.told.node_id == facts.node_id is not None]
        listed |= {address for other in urls for address in (other.told.advertised, other.told.dht_address) if address}
        listed = {address for address in listed if facts.is_local or not is_loopback(address.rpartition(":")[0])}
        listed = {address for address in listed if not address.startswith(ANY_HOST)}
        for probe in self._at_once(lambda address: self._ping(_address(address)), listed - own - set(answered)):
            answered[probe.address] = probe
        same = [address for address, probe in answered.items() if probe.node_id == facts.node_id is not None]
        return self._at_once(lambda address: Suspect(address, self._is_grape(address, facts)), sorted(set(same) - own))

    def _is_grape(self, address: str, facts: Facts) -> bool | None:
        """Returns True if the node at an address is the grape: an announce made there is seen in the grape's API."""
        host, port = _address(address)
        bound = facts.told.dht_address
        if facts.is_local and bound == f"{ANY_HOST}:{port}" and udp.is_of_this_machine(host):
            # No other process can have the port.
            return True
        max_age = facts.told.peer_max_age
        if not self._settings.may_announce or facts.grape.problem is not None or max_age is None:
            return None
        name = udp.new_name()
        age = min(max(max_age - MARKER_SECONDS, 0.0), udp.MAX_AGE_SECONDS)
        if not udp.announce(_address(address), name.encode(), age, self._seconds):
            return None
        return self._api.holds(name)

    # Lookups

    def _with_lookup(self, facts: Facts) -> Facts:
        name = self._settings.name
        if not facts.grape.answers:
            return facts
        if name is None:
            return attrs.evolve(facts, self_test=self._self_test(facts))
        lookup = self._api.lookup(name)
        if lookup.peers or lookup.error is not None:
            return attrs.evolve(facts, lookup=lookup)
        return attrs.evolve(facts, lookup=self._explained(lookup))

    def _explained(self, lookup: Lookup) -> Lookup:
        found = zip(self._others, self._at_once(lambda api: api.find(lookup.name), self._others), strict=True)
        names = self._at_once(lambda api: api.names(), [self._api, *self._others])
        return attrs.evolve(
            lookup,
            elsewhere={api.url: peers for api, peers in found if peers is not None},
            names=tuple(sorted({name for some in names for name in some})),
        )

    def _self_test(self, facts: Facts) -> SelfTest:
        if not self._settings.may_announce:
            return SelfTest(skipped="nothing was announced (--no-announce)")
        if facts.grape.is_without_status:
            return SelfTest(skipped="a Node grape would list the announced name for minutes")
        return self._api.self_test(self._others)

    # Asking

    def _ping(self, address: Address) -> Probe:
        return udp.ping(address, self._seconds)

    def _at_once(self, ask: Callable[[T], U], things: Iterable[T]) -> list[U]:
        return list(self._threads.map(ask, things))


def _own_addresses(told: Told, hosts: Sequence[str], node: str | None, is_local: bool) -> list[Address]:
    """Returns the addresses at which the grape should answer over UDP from here."""
    if node is not None:
        return resolve(node)
    bound, port = told.dht_address, _port_of(told.dht_address) or DEFAULT_PORT
    if bound is not None and not bound.startswith(ANY_HOST):
        # From elsewhere a loopback address would be this machine.
        return [_address(bound)] if is_local or not is_loopback(_address(bound)[0]) else []
    found = [(host, port) for host in hosts]
    if told.advertised is not None and not is_local:
        found += _resolved(told.advertised)
    return list(dict.fromkeys(found))


def _hosts_of(url: str) -> list[str]:
    """Returns the IPv4 addresses of the host in a URL; 127.0.0.1 for IPv6's loopback address."""
    host = urlsplit(url).hostname or ""
    if host == "::1":
        return ["127.0.0.1"]
    return list(dict.fromkeys(address for address, _ in _resolved(f"{host}:1")))


def _resolved(text: str) -> list[Address]:
    try:
        return resolve(text)
    except ValueError:
        return []


def _only_ipv6(host: str) -> str | None:
    try:
        socket.getaddrinfo(host, None, socket.AF_INET6)
    except (OSError, UnicodeError):
        return None
    return f"{host} has IPv6 addresses alone: the DHT speaks IPv4"


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _port_of(text: str | None) -> int | None:
    return _address(text)[1] if text is not None else None


def _free_bytes(file: str | None) -> int | None:
    if file is None or not os.path.exists(file):
        return None
    try:
        return shutil.disk_usage(os.path.dirname(file) or ".").free
    except OSError:
        return None
