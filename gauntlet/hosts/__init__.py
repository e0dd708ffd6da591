"""Tests grapes on hosts with addresses of their own; each host is a network namespace of a lab on this machine."""

from __future__ import annotations

from gauntlet.hosts import addresses, clones, dead, far, mixed, moves, nat, rings

ROWS = (*rings.ROWS, *nat.ROWS, *addresses.ROWS, *moves.ROWS, *clones.ROWS, *far.ROWS, *dead.ROWS, *mixed.ROWS)
