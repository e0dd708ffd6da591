"""Measures lookups after a member died, with and without ICMP errors from its host, and under forged ICMP errors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from gauntlet.hosts.common import (
    Checked,
    announce_all,
    check_lookups,
    complaints,
    half_and_half,
    hosts_row,
    lookup_times,
    start_ring,
)
from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.lab import Lab
from gauntlet.row import Finding, Run, judge, ms, percentile

# A p99 of one ring depends on three lookups: the median of several rings is judged.
RINGS = 3
LOOKUPS = 300
YOUNG_SECONDS = 5.0
KILLED_SECONDS = 0.01
OFF_SECONDS = 0.05
FORGED_A_SECOND = 10_000
FLOOD_SECONDS = 6.0
FLOOD_P99_SECONDS = 0.05


def killed(run: Run) -> Finding:
    """Kills one of three with SIGKILL: its host answers what comes for it with ICMP errors."""
    return _after_a_death(lambda lab, grape: grape.kill(), KILLED_SECONDS)


def switched_off(run: Run) -> Finding:
    """Takes the link of one of three down: nothing answers for it."""
    return _after_a_death(lambda lab, grape: lab.unplug(grape.host), OFF_SECONDS)


def _after_a_death(die: Callable[[Lab, LabGrape], None], goal: float) -> Finding:
    p99s, firsts, known, unknown, bad = [], [], [], [], []
    checked = Checked()
    grapes: Sequence[LabGrape]
    with Lab() as lab:
        rings: list[tuple[float, Sequence[LabGrape], dict[str, str]]] = []
        for _ in range(RINGS):
            grapes = start_ring(lab, lab.network(), 3)
            rings.append((time.monotonic(), grapes, announce_all(grapes, "young", each=7)))
        for formed, grapes, announced in rings:
            time.sleep(max(formed + YOUNG_SECONDS - time.monotonic(), 0.0))
            die(lab, grapes[2])
            times = lookup_times(grapes[0], half_and_half(announced, LOOKUPS))
            firsts.append(times[0])
            p99s.append(percentile(times, 0.99))
            known.append(percentile(times[::2], 0.99))
            unknown.append(percentile(times[1::2], 0.99))
            check_lookups(grapes[:2], announced, checked)
            bad += complaints(grapes[:2])
    p99 = statistics.median(p99s)
    return judge(
        {
            "first ms": ms(statistics.median(firsts)),
            "p99 ms": ms(p99),
            "of names announced": ms(statistics.median(known)),
            "of others": ms(statistics.median(unknown)),
            "p99 of each ring": ", ".join(f"{ms(each):g}" for each in p99s),
            "right": checked.text,
            "errors logged": len(bad),
        },
        {f"p99 < {goal * 1000:g} ms": p99 < goal, "all right": checked.ok, "no error logged": not bad},
    )


def forged(run: Run) -> Finding:
    """Sends one of three forged ICMP errors about the others, and looks names up meanwhile."""
    with Lab() as lab:
        network = lab.network()
        grapes = start_ring(lab, network, 3)
        victim, *others = grapes
        announced = announce_all(grapes, "forged", each=5)
        forger = lab.host(network=network, last=66)
        program = forger.python(
            "gauntlet.lab.forger",
            victim.node,
            str(FORGED_A_SECOND),
            str(FLOOD_SECONDS),
            *(other.node for other in others),
        )
        time.sleep(0.5)
        times: list[float] = []
        checked = Checked()
        while program.status is None:
            check_lookups([victim], announced, checked)
            times += lookup_times(victim, half_and_half(announced, 20))
            time.sleep(0.05)
        sent = int(program.log.strip() or 0)
        open_after = victim.id_from(forger) != b""
        check_lookups(grapes, announced | announce_all(grapes, "after", each=2), checked)
        bad = complaints(grapes)
    p99 = percentile(times, 0.99)
    return judge(
        {
            "errors a second": round(sent / FLOOD_SECONDS),
            "lookups": len(times),
            "p99 ms": ms(p99),
            "right": checked.text,
            "port open": "yes" if open_after else "no",
            "errors logged": len(bad),
        },
        {
            "all right": checked.ok,
            "p99 < 50 ms": p99 < FLOOD_P99_SECONDS,
            "the port stays open": open_after,
            "nine tenths of the errors were sent": sent > 0.9 * FORGED_A_SECOND * FLOOD_SECONDS,
            "no error logged": not bad,
        },
    )


ROWS = (
    hosts_row(
        "hosts-killed",
        "three grapes on three hosts, formed 5 s ago, one killed -9; 300 lookups at another",
        "p99 < 10 ms (median of three rings)",
        killed,
        alone=True,
    ),
    hosts_row(
        "hosts-switched-off",
        "the same, but the host is switched off",
        "p99 < 50 ms (median of three rings)",
        switched_off,
        alone=True,
    ),
    hosts_row(
        "hosts-forged",
        "10,000 forged ICMP errors a second, which say that the other two of three cannot be reached",
        "all lookups right, p99 < 50 ms, the port stays open",
        forged,
        alone=True,
    ),
)
