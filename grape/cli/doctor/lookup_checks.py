"""Judges lookups: why one is empty, and whether an announce is found. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from grape.cli.doctor.facts import Facts, Lookup
from grape.cli.doctor.findings import FAILED, OK, WARNING, Finding, listed, skip
from grape.dht.addresses import is_loopback

LIKENESS = 0.7
SUGGESTIONS = 3


def check_lookup(facts: Facts) -> Iterator[Finding]:
    """Judges the lookup of the name that was asked for."""
    lookup = facts.lookup
    if lookup is None:
        return
    name = f"lookup of {lookup.name}"
    if lookup.error is not None:
        yield Finding(name, FAILED, f"it fails: {lookup.error}", "See the other findings, and the log of the grape.")
        return
    if not lookup.peers:
        found, advice = _emptiness(lookup, facts)
        yield Finding(name, FAILED, found, advice)
        return
    found = f"{len(lookup.peers)} {'peer' if len(lookup.peers) == 1 else 'peers'}: {listed(lookup.peers)}"
    if all(is_loopback(peer) for peer in lookup.peers):
        advice = (
            "Only processes on the grape's own host can connect: have the grape of the service join nodes of other "
            "hosts, or started with --advertise, and the service announced again."
        )
        yield Finding(name, WARNING, f"{found}, at loopback addresses alone", advice)
    else:
        yield Finding(name, OK, found)


def _emptiness(lookup: Lookup, facts: Facts) -> tuple[str, str]:
    """Returns why a lookup found nothing (the links' ERR_GRAPE_LOOKUP_EMPTY), and what to do."""
    elsewhere = [url for url, peers in lookup.elsewhere.items() if peers]
    steps = lookup.steps
    answered = [step for step in steps or () if step.is_answered]
    near = _near(lookup)
    if "isolated" in facts.told.problems:
        return "it finds nothing, as the grape is isolated", "See the findings on the network and the bootstrap nodes."
    if elsewhere:
        return (
            f"it finds nothing here, though {listed(elsewhere)} finds peers: the grapes are not in one ring, or lose "
            "each other's answers",
            "Have each grape name the others as bootstrap nodes (--bn), and see the findings on contacts.",
        )
    if steps and not answered:
        return (
            f"none of {len(steps)} nodes asked has answered",
            "See the findings on contacts; once the silent nodes are dropped, lookups ask others.",
        )
    if near:
        alike = " and ".join(repr(name) for name in near)
        return f"nobody announces it, but {alike} {'is' if len(near) == 1 else 'are'} announced", (
            "Use the same name for the announce and the lookup, to the letter."
        )
    if not lookup.is_complete:
        return (
            "it was stopped before the nodes that should know had answered",
            "Try again; `--trace` shows who is slow.",
        )
    asked = f" ({len(answered)} of {len(steps)} nodes asked have answered)" if steps else ""
    age = facts.told.peer_max_age
    limit = f" within the last {age:.0f} s" if age else ""
    silent = [step.address for step in steps or () if not step.is_answered]
    lost = f" Or they alone had it that did not answer: {listed(silent)}." if silent else ""
    return (
        f"nobody has announced it{limit}{asked}",
        f"See whether the service runs, and announces this name again and again, at a grape of this ring.{lost}",
    )


def _near(lookup: Lookup) -> list[str]:
    """Returns names of services that look like a mistyped one."""
    folded: dict[str, list[str]] = {}
    for name in lookup.names:
        if name != lookup.name:
            folded.setdefault("".join(name.split()).casefold(), []).append(name)
    close = get_close_matches("".join(lookup.name.split()).casefold(), folded, SUGGESTIONS, LIKENESS)
    return [name for match in close for name in folded[match]][:SUGGESTIONS]


def check_self_test(facts: Facts) -> Iterator[Finding]:
    """Judges whether a name that was announced for it was found."""
    test, name = facts.self_test, "self-test"
    if test is None:
        if facts.lookup is None:
            yield skip(name, "no grape answers")
        return
    if test.skipped is not None:
        yield skip(name, test.skipped)
    elif test.error is not None:
        advice = "See the findings on the network and the bootstrap nodes."
        yield Finding(name, FAILED, f"an announce fails: {test.error}", advice)
    elif test.missed_by:
        found = f"a service announced here is not found by {listed(test.missed_by)}"
        advice = "These grapes are in other rings, or lose answers: have each name the others (--bn), and examine each."
        yield Finding(name, FAILED, found, advice)
    else:
        found = f"a service announced here (at {test.stored} {'node' if test.stored == 1 else 'nodes'}) is found"
        where = f" by {listed(test.found_by)}" if len(test.found_by) > 1 else ""
        yield Finding(name, OK, f"{found}{where}")
