"""Judges what a grape tells of itself: its API, readiness, state file, descriptors, limits and clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from grape.cli.doctor.facts import Api, Facts
from grape.cli.doctor.findings import FAILED, OK, WARNING, Finding, listed, skip
from grape.cli.output import age

MIB = 1_048_576
FEW_FREE_BYTES = 64 * MIB
# A grape needs 64 for itself, and one for each of 512 connections.
FEW_DESCRIPTORS = 576
MUCH, VERY_MUCH = 0.8, 0.95
CLOCK_SECONDS = 2.0

_FIREWALL = (
    "Bootstrap nodes answer this command, so a firewall drops the datagrams to the grape's UDP port, or the grape is "
    "bound to an address from which they cannot be reached: open UDP port {port}, and see --dht-bind."
)

# Of each counter: what happens at the limit, and what raises it.
LIMITS = {
    "not_sent": (
        "queries were not sent, as too many were in flight",
        "Raise --max-pending, or find what asks so much.",
    ),
    "shaped": (
        "datagrams to addresses that never answered were not sent",
        "This protects strangers from forged queries; raise --max-strangers if many nodes are honest.",
    ),
    "evicted_keys": ("services were evicted for new ones", "Raise --max-keys, or --max-store-bytes."),
    "evicted_peers": ("peers of services were evicted for new ones", "Raise --max-peers-per-key, on all grapes."),
    "evicted_peers_of_announcer": (
        "peers announced through one grape were evicted for new ones",
        "Raise --max-peers-per-announcer on all grapes, or announce through more of them.",
    ),
    "evicted_items": ("items were evicted for new ones", "Raise --dht_maxValues, or --max-item-bytes."),
    "evicted_withdrawals": (
        "withdrawals were evicted for new ones: services may be listed again until they expire",
        "Raise --max-keys, and --max-store-bytes.",
    ),
    "unverified_puts": (
        "puts were refused, as too many signatures were wrong",
        "Find the client that signs wrongly, or the host that attacks: --log-level grape=debug names it.",
    ),
    "evicted_connections": (
        "idle HTTP connections were closed for new ones",
        "Raise --max-connections, or --max-connections-per-host where one client opens them all.",
    ),
    "refused_connections": ("HTTP connections were refused", "Raise --max-connections and the limit of descriptors."),
    "overloads": ("HTTP calls were refused with 503", "Raise --max-calls, or spread the clients over more grapes."),
}


def check_api(facts: Facts) -> Iterator[Finding]:
    """Judges whether the grapes answer over HTTP, and to this machine."""
    for api in (facts.grape, *facts.others):
        yield _api(api, OK if api.answers else FAILED if api is facts.grape else WARNING)


def _api(api: Api, state: str) -> Finding:
    if api.is_refused:
        advice = "Ask it by its IP address, or have it started with --allow-host and the name in the URL."
        return Finding("HTTP API", state, f"{api.url} refuses the call: {api.problem}", advice)
    if api.is_without_status:
        return Finding("HTTP API", OK, f"{api.url} answers; {api.problem}")
    if api.problem is not None:
        advice = (
            "See whether the grape runs and what it logged; whether it listens there (--aph, -b, --api-bind); and "
            "whether a firewall drops TCP."
        )
        return Finding("HTTP API", state, f"{api.url}: {api.problem}", advice)
    told = api.told
    up = f", up for {age(told.uptime)}" if told.uptime is not None else ""
    return Finding("HTTP API", OK, f"{api.url} answers: version {told.version}, node id {told.node_id}{up}")


def check_readiness(facts: Facts) -> Iterator[Finding]:
    """Judges whether the grape reaches its network."""
    told, problems = facts.told, facts.told.problems
    if facts.grape.problem is not None:
        if facts.contact_count == 0:
            yield Finding("network", FAILED, "it lists no other node", "See that other nodes run and name each other.")
        elif facts.contact_count:
            yield Finding("network", OK, f"it lists {facts.contact_count} other nodes")
        else:
            yield skip("network", facts.unknown)
        return
    if "stopping" in problems:
        yield Finding("network", FAILED, problems["stopping"], "Start it again, or ask another grape.")
    elif "joining" in problems:
        yield Finding("network", WARNING, problems["joining"], "Wait for 3 s, and run this again.")
    elif "isolated" in problems:
        answering = [
            probe.address
            for entry in facts.bootstrap
            for probe in entry.probes
            if probe.is_answered and probe.node_id != told.node_id
        ]
        port = (told.dht_address or "").rpartition(":")[2] or "20001"
        advice = _FIREWALL.format(port=port) if answering else "None of its bootstrap nodes answers: see there."
        if len(facts.bootstrap) == 1:
            advice += " In a ring of two grapes, start both with --ready-isolated: each serves while the other is down."
        yield Finding("network", FAILED, f"it is isolated: {problems['isolated']}", advice)
    elif not told.contacts:
        yield Finding("network", OK, "it is alone, and was given no other node to join")
    else:
        yield Finding("network", OK, f"{told.contacts} contacts, and at least one answers")


def check_state(facts: Facts) -> Iterator[Finding]:
    """Judges whether the state is written to its file."""
    told, name = facts.told, "state file"
    if facts.grape.problem is not None:
        yield skip(name, facts.unknown)
        return
    problem = told.state_problem or told.problems.get("degraded")
    if problem is not None:
        yield Finding(name, FAILED, f"{told.state_file}: {problem}", _state_advice(problem))
    elif told.state_file is None:
        yield Finding(name, OK, "no state is kept")
    elif facts.free_bytes is not None and facts.free_bytes < FEW_FREE_BYTES:
        found = f"{told.state_file} is written; {facts.free_bytes / MIB:.0f} MiB are free on its filesystem"
        yield Finding(name, WARNING, found, "Free space: without any puts are refused.")
    else:
        free = f"; {facts.free_bytes / MIB:,.0f} MiB are free" if facts.free_bytes is not None else ""
        yield Finding(name, OK, f"{told.state_file} is written{free}")


def _state_advice(problem: str) -> str:
    text = problem.lower()
    if "full" in text or "space" in text or "quota" in text:
        return "Free space on its filesystem, or raise the quota; what waits is written then, without a restart."
    if "readonly" in text or "read-only" in text or "permi" in text or "denied" in text or "unable to open" in text:
        return "Let the user of the grape write to the file and its folder (owner, mode, read-only mounts)."
    return "See the log of the grape, and `grape state check FILE`."


def check_descriptors(facts: Facts) -> Iterator[Finding]:
    """Judges whether the process may open enough files and sockets."""
    told, name = facts.told, "descriptors"
    used, limit = told.descriptors_open, told.descriptors_limit
    if used is None and limit is None:
        yield skip(name, facts.unknown)
        return
    if limit is None:
        yield Finding(name, OK, f"{used} are open, without a limit")
        return
    found = f"{used if used is not None else 'some'} of {limit} are open"
    advice = "Raise the limit: LimitNOFILE= in the unit, or ulimit -Hn before the start."
    if used is not None and used >= VERY_MUCH * limit:
        yield Finding(name, FAILED, found, advice)
    elif used is not None and used >= MUCH * limit:
        yield Finding(name, WARNING, found, advice)
    elif limit < FEW_DESCRIPTORS:
        kept = f": HTTP connections are limited to {told.connections_limit}" if told.connections_limit else ""
        yield Finding(name, WARNING, f"{found}, which are few{kept}", advice)
    else:
        yield Finding(name, OK, found)


def check_limits(facts: Facts) -> Iterator[Finding]:
    """Judges whether the grape has hit limits since its start, or is about to."""
    told, name = facts.told, "limits"
    if told.limits_hit is None:
        yield skip(name, facts.unknown)
        return
    is_well = True
    for counter, number in told.limits_hit.items():
        text, advice = LIMITS.get(counter, (f"the counter {counter} rose", "See docs/configuration.md."))
        yield Finding(name, WARNING, f"{text} ({counter}: {number:,} since the start)", advice)
        is_well = False
    used, limit = told.connections_open, told.connections_limit
    if used is not None and limit and used >= MUCH * limit:
        yield Finding(name, WARNING, f"{used} of {limit} HTTP connections are open", LIMITS["evicted_connections"][1])
        is_well = False
    if is_well:
        yield Finding(name, OK, "none was hit since the start")


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Judges whether the grape's clock agrees with this machine's and with those of other grapes."""
    name, ahead = "clock", facts.grape.clock_ahead
    if ahead is None:
        yield skip(name, facts.unknown)
        return
    others = [(f"that of {api.url}", api.clock_ahead, api.clock_error) for api in facts.others]
    if not facts.is_local:
        others.append(("this machine's", 0.0, 0.0))
    compared = [(whose, ahead - other, error) for whose, other, error in others if other is not None]
    if not compared:
        yield skip(name, "nothing to compare it with: name another grape, too (-u), or run this on another machine")
        return
    wrong = [
        f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} {whose}"
        for whose, off, error in compared
        if abs(off) > CLOCK_SECONDS + error + facts.grape.clock_error
    ]
    if wrong:
        advice = (
            "Set the clocks by NTP (timedatectl set-ntp true): ages in state files and time slots are of no use else."
        )
        yield Finding(name, WARNING, f"it is {listed(wrong)}", advice)
    else:
        yield Finding(name, OK, f"it agrees with {listed(whose for whose, _, _ in compared)}")
