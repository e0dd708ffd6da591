"""Judges what nodes answered over UDP: the grape, its bootstrap nodes and contacts, and nodes with its id. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from grape.cli.doctor.facts import REFUSED, UNSENT, Contact, Entry, Facts, Probe
from grape.cli.doctor.findings import FAILED, OK, WARNING, Finding, listed, skip
from grape.cli.doctor.udp import LARGE_BYTES
from grape.dht.addresses import is_loopback

# A grape with fewer contacts is listed by all that are reachable; in larger rings by those close to it.
SMALL_RING = 20
JUST_STARTED_SECONDS = 10.0

_OPEN_PORT = (
    "Open UDP port {port} in the firewall, also for datagrams that are no answers; forward it where addresses are "
    "translated (NAT), and publish it of a container (-p {port}:{port}/udp)."
)


def check_bind(facts: Facts) -> Iterator[Finding]:
    """Judges whether the UDP socket is bound to an address that other hosts reach."""
    name, bound = "UDP address", facts.told.dht_address
    if bound is None:
        yield skip(name, facts.unknown)
        return
    host, _, _ = bound.rpartition(":")
    if not is_loopback(host):
        known = f", known as {facts.told.advertised}" if facts.told.advertised is not None else ""
        yield Finding(name, OK, f"bound to {bound}{known}")
        return
    elsewhere = [entry.text for entry in facts.bootstrap if any(_is_elsewhere(probe) for probe in entry.probes)]
    if elsewhere:
        found = (
            f"bound to {bound}, where no other host reaches it; its bootstrap nodes ({listed(elsewhere)}) are elsewhere"
        )
    elif not facts.is_local:
        found = f"bound to {bound}, where no other host reaches it, this one neither"
    else:
        yield Finding(name, OK, f"bound to {bound}: for nodes of this host alone")
        return
    yield Finding(name, FAILED, found, "Start it without -b, or with --dht-bind and an address of its network.")


def _is_elsewhere(probe: Probe) -> bool:
    return not is_loopback(probe.address)


def check_port(facts: Facts) -> Iterator[Finding]:
    """Judges whether the grape answers over UDP."""
    name = "UDP port"
    if facts.told.is_read_only:
        yield skip(name, "the grape is read-only: it answers no queries")
        return
    if not facts.own:
        yield skip(name, "there is no address to ask it at from here")
        return
    port = facts.own[0].address.rpartition(":")[2]
    answered = [probe for probe in facts.own if probe.is_answered]
    others = [probe for probe in answered if facts.told.node_id is not None and probe.node_id != facts.told.node_id]
    silent = [probe for probe in facts.own if not probe.is_answered]
    if others:
        found = f"at {listed(probe.address for probe in others)} another node answers, with the id {others[0].node_id}"
        yield Finding(name, FAILED, found, "Name the UDP address of the grape with --node, or its HTTP API with -u.")
    elif not answered:
        refused = all(probe.outcome == REFUSED for probe in silent)
        said = "no process listens at" if refused else "no answer at"
        found = f"{said} {listed(probe.address for probe in silent)}"
        if facts.grape.answers:
            yield Finding(name, FAILED, f"{found}, though its HTTP API answers", _OPEN_PORT.format(port=port))
        else:
            yield Finding(name, FAILED, f"{found} either", "Start the grape, or name another one (-u, --node).")
    elif silent:
        found = f"no answer at {listed(probe.address for probe in silent)}, as which the grape is known to others"
        yield Finding(name, WARNING, found, f"Correct --advertise. {_OPEN_PORT.format(port=port)}")
    else:
        found = f"answers at {listed(probe.address for probe in answered)}"
        if facts.is_local:
            found += ", asked on its own host (run this on another one to see what a firewall does)"
        yield Finding(name, OK, found)


def check_bootstrap(facts: Facts) -> Iterator[Finding]:
    """Judges whether each bootstrap node's name resolves, and whether each address answers."""
    name, entries = "bootstrap", facts.bootstrap
    if facts.told.bootstrap is None:
        yield skip(name, facts.unknown)
        return
    if not entries:
        yield Finding(name, OK, "none is configured: the grape is the first of its network, or alone")
        return
    useful = any(_is_useful(probe, facts) for entry in entries for probe in entry.probes)
    state = WARNING if useful or any(entry.skipped for entry in entries) else FAILED
    for entry in entries:
        yield from _entry(name, entry, state, facts)


def _has_own_id(probe: Probe, facts: Facts) -> bool:
    return facts.node_id is not None and probe.node_id == facts.node_id


def _is_useful(probe: Probe, facts: Facts) -> bool:
    return probe.is_answered and not _has_own_id(probe, facts)


def _entry(name: str, entry: Entry, state: str, facts: Facts) -> Iterator[Finding]:
    if entry.skipped is not None:
        yield skip(name, f"{entry.text}: {entry.skipped}")
    elif entry.problem is not None:
        advice = "Correct the name in --bn, or what resolves it (DNS, /etc/hosts)."
        yield Finding(name, state, f"{entry.text}: {entry.problem}", advice)
    answered = []
    for probe in entry.probes:
        shown = probe.address if probe.address == entry.text else f"{entry.text}: {probe.address}"
        if not probe.is_answered and any(own.address == probe.address for own in facts.own):
            answered.append(f"{shown} is this grape itself (see UDP port)")
        elif probe.is_answered and _has_own_id(probe, facts):
            is_clone = any(not suspect.is_itself for suspect in facts.suspects if suspect.address == probe.address)
            answered.append(f"{shown} {'answers, with the id of this grape' if is_clone else 'is this grape itself'}")
        elif probe.is_answered:
            answered.append(f"{shown} answers")
        else:
            yield _unanswered(name, shown, probe, state)
    if answered:
        yield Finding(name, OK, listed(answered))


def _unanswered(name: str, shown: str, probe: Probe, state: str) -> Finding:
    there = f" At {probe.instead} a node answers." if probe.instead is not None else ""
    if probe.by_tcp == "HTTP":
        found = f"{shown}: no node answers there, but HTTP does: it is the port of an HTTP API"
        return Finding(name, state, found, f"Give --bn the UDP port of the DHT, 20001 unless --dp is set.{there}")
    if probe.outcome == UNSENT:
        found = f"{shown} cannot be reached: {probe.problem}"
        return Finding(name, state, found, "See the routes of this machine (ip route get), and its firewall.")
    if probe.outcome == REFUSED:
        found = f"{shown}: no process listens at this UDP port"
        return Finding(name, state, found, f"Start the node there, or correct the port in --bn.{there}")
    advice = "See whether the host and its node run, whether a firewall drops UDP there, and whether --bn is right."
    return Finding(name, state, f"{shown} does not answer", f"{advice}{there}")


def check_contacts(facts: Facts) -> Iterator[Finding]:
    """Judges who has the grape as a contact: those that do can reach its UDP port."""
    name, told, asked = "contacts", facts.told, facts.contacts
    if facts.contact_count is None:
        yield skip(name, "they are not known")
        return
    if not facts.contact_count:
        yield skip(name, "there is none that could be asked")
        return
    if not asked:
        yield skip(name, "they are at loopback addresses of the grape's own host: run this there")
        return
    answered = [contact for contact in asked if contact.is_answered]
    if not answered:
        found = f"none of {_count(len(asked), 'contact')} answers this machine"
        state = FAILED if facts.is_local or "isolated" in told.problems else WARNING
        yield Finding(name, state, found, "See whether they run, and whether a firewall drops UDP on the way.")
        return
    listing = [contact for contact in answered if contact.lists]
    found = f"{len(listing)} of {_count(len(answered), 'contact')} that answered list this grape"
    if listing:
        found += f", at {listed(sorted({address for contact in listing for address in contact.lists}))}"
    if told.is_read_only:
        yield skip(name, "the grape is read-only: nobody lists it")
    elif told.uptime is not None and told.uptime < JUST_STARTED_SECONDS and len(listing) < len(answered):
        yield Finding(name, WARNING, f"{found}; it has just started", "Run this again in 10 s.")
    elif not listing:
        port = (told.dht_address or "").rpartition(":")[2] or "20001"
        advice = f"They cannot reach its UDP port unasked. {_OPEN_PORT.format(port=port)}"
        yield Finding(name, FAILED, found, advice)
    elif len(listing) * 2 < len(answered) and facts.contact_count <= SMALL_RING:
        port = (told.dht_address or "").rpartition(":")[2] or "20001"
        yield Finding(name, WARNING, found, f"The others reach it at times at best. {_OPEN_PORT.format(port=port)}")
    elif len(answered) * 2 < len(asked):
        silent = listed(contact.address for contact in asked if not contact.is_answered)
        yield Finding(name, WARNING, f"{found}; {silent} did not answer", "See whether these nodes run.")
    else:
        yield Finding(name, OK, found)


def check_identity(facts: Facts) -> Iterator[Finding]:
    """Judges whether another node has the grape's id."""
    name = "node id"
    if facts.node_id is None:
        yield skip(name, "it is not known")
        return
    clones = [suspect.address for suspect in facts.suspects if suspect.is_itself is False]
    unknown = [suspect.address for suspect in facts.suspects if suspect.is_itself is None]
    advice = (
        "Both were started from copies of one state file: stop one of them, run `grape state new-id FILE` on its file, "
        "and start it again."
    )
    if clones:
        yield Finding(name, FAILED, f"another node, at {listed(clones)}, has the id of this grape", advice)
    elif unknown:
        found = f"a node at {listed(unknown)} has the id of this grape; it may be this grape itself"
        yield Finding(name, WARNING, found, f"If it is not: {advice[0].lower()}{advice[1:]}")
    else:
        yield Finding(name, OK, "no other node was found that has it")


def check_mtu(facts: Facts) -> Iterator[Finding]:
    """Judges whether large datagrams arrive."""
    name = "MTU"
    tried = [contact for contact in facts.contacts if contact.large is not None]
    if not tried:
        yield skip(name, "no contact answered that could be sent a large datagram")
        return
    lost = [contact.address for contact in tried if not contact.large]
    if not lost:
        yield Finding(name, OK, f"datagrams of {LARGE_BYTES:,} bytes are answered by {_count(len(tried), 'contact')}")
        return
    found = f"datagrams of {LARGE_BYTES:,} bytes to {listed(lost)} are lost, small ones arrive"
    advice = (
        "Set the MTU of the interface to that of the path (tunnels, VPN), and let the firewall pass fragments and ICMP."
    )
    yield Finding(name, FAILED if len(lost) == len(tried) else WARNING, found, advice)


def check_age(facts: Facts) -> Iterator[Finding]:
    """Judges whether all members of the ring list peers equally long."""
    name, own = "peers' age", facts.told.peer_max_age
    if own is None:
        yield skip(name, facts.unknown)
        return
    shown = f"this grape lists a peer for {_time(own)}"
    wrong = [
        f"{api.url} for {_time(api.told.peer_max_age)}"
        for api in facts.others
        if api.told.peer_max_age is not None and api.told.peer_max_age != own
    ]
    wrong += [text for text in map(_kept, facts.contacts) if text]
    compared = [(number, thing) for number, thing in _compared(facts) if number]
    agreeing = [_count(number, thing) for number, thing in compared]
    others = [contact for contact in facts.contacts if contact.is_answered and not contact.is_ours]
    if wrong:
        advice = "Start all members of the ring with the same --dht_peer_maxAge: else services come and go."
        yield Finding(name, WARNING, f"{shown}, {listed(wrong)}", advice)
    elif agreeing:
        unasked = f" ({_count(len(others), 'contact')} of other software cannot be asked)" if others else ""
        verb = "does" if [number for number, _ in compared] == [1] else "do"
        yield Finding(name, OK, f"{shown}, and so {verb} {' and '.join(agreeing)}{unasked}")
    else:
        yield skip(name, f"{shown}; {_unasked(facts, others)}")


def _compared(facts: Facts) -> Iterator[tuple[int, str]]:
    yield sum(contact.kept is not None for contact in facts.contacts), "contact"
    yield sum(api.told.peer_max_age is not None for api in facts.others), "named grape"


def _unasked(facts: Facts, others: list[Contact]) -> str:
    if facts.no_announces is not None:
        return facts.no_announces
    if others:
        return "its contacts are of other software, and cannot be asked"
    return "there is no other to compare with" if facts.told.peer_max_age else "that can be compared only with -u"


def _kept(contact: Contact) -> str | None:
    kept = contact.kept
    if kept is None or (kept.keeps_younger and not kept.keeps_older):
        return None
    if kept.keeps_older:
        return f"{contact.address} longer"
    return f"{contact.address} for {f'about {_time(kept.about)}' if kept.about is not None else 'less'}"


def _time(seconds: float | None) -> str:
    return (
        f"{seconds or 0:.3g} s" if seconds is None or 0 < seconds < 1_000 else f"{seconds:.0f} s" if seconds else "ever"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
