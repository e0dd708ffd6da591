"""Makes all checks, in the order in which their findings are shown.

Under 60 lines: it is one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from grape.cli.doctor.facts import Facts
from grape.cli.doctor.findings import Finding
from grape.cli.doctor.grape_checks import (
    check_api,
    check_clock,
    check_descriptors,
    check_limits,
    check_readiness,
    check_state,
)
from grape.cli.doctor.lookup_checks import check_lookup, check_self_test
from grape.cli.doctor.network_checks import (
    check_age,
    check_bind,
    check_bootstrap,
    check_contacts,
    check_identity,
    check_mtu,
    check_port,
)

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    check_api,
    check_readiness,
    check_bind,
    check_port,
    check_bootstrap,
    check_contacts,
    check_identity,
    check_mtu,
    check_clock,
    check_age,
    check_state,
    check_descriptors,
    check_limits,
    check_lookup,
    check_self_test,
)


def findings_of(facts: Facts) -> list[Finding]:
    """Returns the findings of all checks."""
    return [finding for check in CHECKS for finding in check(facts)]
