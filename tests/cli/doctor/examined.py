"""Makes facts about a grape in which all is well, for tests to change."""

from __future__ import annotations

from typing import Any

import attrs

from grape.cli.doctor.facts import ANSWERED, SILENT, Api, Contact, Entry, Facts, Kept, Probe, SelfTest
from grape.cli.doctor.findings import Finding
from grape.cli.doctor.told import Told

URL, OTHER_URL = "http://10.0.0.1:30001", "http://10.0.0.2:30001"
OWN, SECOND, THIRD, NOBODY = (f"10.0.0.{number}:20001" for number in (1, 2, 3, 9))
ID, OTHER_ID = "aa" * 20, "bb" * 20

TOLD = Told(
    version="0.1.0",
    node_id=ID,
    uptime=3_600.0,
    dht_address="0.0.0.0:20001",
    advertised=OWN,
    contacts=2,
    bootstrap=(OWN, SECOND),
    peer_max_age=240.0,
    time=1_000.0,
    state_file="/var/lib/grape/state.sqlite",
    descriptors_open=20,
    descriptors_limit=1_024,
    connections_open=2,
    connections_limit=512,
    limits_hit={},
)


def answers(address: str, node_id: str = OTHER_ID) -> Probe:
    return Probe(address, ANSWERED, node_id=node_id, is_ours=True)


def silent(address: str, outcome: str = SILENT, **facts: Any) -> Probe:
    return Probe(address, outcome, **facts)


def lists(address: str, *own: str, **facts: Any) -> Contact:
    """Returns a contact that lists the grape at addresses."""
    return Contact(address, ANSWERED, True, own, **{"large": True, "kept": Kept(True, False), **facts})


WELL = Facts(
    grape=Api(URL, told=TOLD, clock_ahead=0.1),
    others=(Api(OTHER_URL, told=attrs.evolve(TOLD, node_id=OTHER_ID), clock_ahead=-0.2),),
    own=(answers(OWN, ID),),
    bootstrap=(Entry(OWN, probes=(answers(OWN, ID),)), Entry(SECOND, probes=(answers(SECOND),))),
    contacts=(lists(SECOND, OWN), lists(THIRD, OWN)),
    contact_count=2,
    free_bytes=10**10,
    self_test=SelfTest(2, found_by=(URL, OTHER_URL)),
)


def well(**changes: Any) -> Facts:
    """Returns facts in which all but the changes is well; ``told_...`` are changes of what the grape told."""
    told = {name.removeprefix("told_"): value for name, value in changes.items() if name.startswith("told_")}
    facts = {name: value for name, value in changes.items() if not name.startswith("told_")}
    grape = attrs.evolve(WELL.grape, told=attrs.evolve(TOLD, **told))
    return attrs.evolve(WELL, **{"grape": grape, **facts})


def shown(findings: Any) -> list[str]:
    """Returns findings as "state: found", those that are not well with their advice behind a bar."""

    def line(finding: Finding) -> str:
        return f"{finding.state}: {finding.found}{f' | {finding.advice}' if finding.advice else ''}"

    return [line(finding) for finding in findings]
