"""grape.state: withdrawals in the state file."""

from __future__ import annotations

import pytest

from grape.dht.compact import is_ipv4
from grape.dht.withdrawals import OWN
from grape.state import records
from grape.state.examine import examine
from grape.state.tables import Row
from tests.state.test_contract import MAX_AGE, FileStores, peer


def test_withdrawal_is_a_row_in_the_place_of_its_peer_which_older_versions_skip() -> None:
    stores = FileStores()
    stores.peers.announce(b"name", peer(1), stores.clock.seconds())
    stores.keep()
    at = stores.clock.seconds()
    stores.withdrawals.withdraw(b"name", peer(1), at)
    stores.withdrawals.withdraw(b"name", (OWN, 1_337), at)
    stores.keep()
    stores.kill()
    rows = sorted(examine(stores.path, 1).rows["peer"])
    assert rows == [(b"name", "", 1_337, "", 0, at), (b"name", *peer(1), "", 0, at)]
    # That is how version 0.1.0 reads an address, of the peer and of its announcer.
    assert not is_ipv4("")
    assert records.read({"peer": list(rows)}).peers == []
    stores.close()


def test_withdrawal_that_is_too_old_is_deleted_at_a_restart() -> None:
    stores = FileStores()
    stores.withdrawals.withdraw(b"name", peer(1), stores.clock.seconds())
    stores.keep()
    stores.clock.advance(MAX_AGE)
    stores.restart()
    assert not stores.withdrawals.entries
    stores.keep()
    stores.kill()
    assert examine(stores.path, 1).rows["peer"] == []
    stores.close()


@pytest.mark.parametrize(
    "row",
    [
        (b"name", "10.0.0.1", 0, "", 0, 1.0),
        (b"name", "10.0.0.1", 65_536, "", 0, 1.0),
        (b"name", "example.org", 5, "", 0, 1.0),
        (b"name", b"", 5, "", 0, 1.0),
        ("name", "10.0.0.1", 5, "", 0, 1.0),
        (b"name", "10.0.0.1", 5, "", 1, 1.0),
        (b"name", "10.0.0.1", 5, "", 0, "1"),
    ],
)
def test_row_that_is_no_withdrawal_is_dropped(row: Row) -> None:
    assert records.read({"peer": [row]}).withdrawals == []
