"""``grape state``: malformed input ends in one line and a documented status, and never destroys valid data."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from grape.cli import state as state_cli
from grape.state import records
from grape.state.clock import MAX_CLOCK_SECONDS, Heartbeat
from grape.state.examine import connect, examine, schema
from grape.state.lock import StateError
from grape.state.records import HEARTBEAT
from grape.state.sqlite import StateFile
from grape.state.tables import Change

DEEP = "[" * 100_000
CONTACT = {"table": "contact", "host": "10.0.0.1", "port": 1, "id": {"hex": "69" * 20}, "at": 1.0}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "grape.sqlite")


def contact(port: object, **other: object) -> str:
    return json.dumps({**CONTACT, "port": port, **other})


def load(path: str, *lines: str) -> int:
    return state_cli.load(path, io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        '{"table": "meta", "name": "a", "value": ' + DEEP,
        contact(2**63),
        contact(-(2**63) - 1),
        contact(int("9" * 400)),
        contact(2).replace(" 2,", f" {'9' * 5_000},"),
        contact(2, host="\ud800"),
        contact(2, host=None),
        contact(2, id=None),
        contact(2, at=None),
        contact(2, at=float("nan")),
        contact(2, at=float("inf")),
        contact(2, at=int("9" * 400)),
        contact(2, at=True),
        contact("2"),
        contact(2.0),
        contact(True),
        contact(2, host=7),
        contact(2, id="text"),
        contact(2, id={"hex": 1}),
        json.dumps({"table": "item", **dict.fromkeys(("target", "raw", "key", "signature", "salt"))}),
        json.dumps({"table": ["item"]}),
        "\udcff",
        "7",
    ],
    ids=lambda line: line[:70].encode("ascii", "backslashreplace").decode(),
)
def test_invalid_line_is_skipped_and_all_others_are_written(
    path: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [contact(n) for n in range(100, 200)]
    assert load(path, *lines[:50], line, *lines[50:]) == 1
    assert capsys.readouterr() == (f"{path}: 100 rows written\n", "grape: 1 invalid lines skipped\n")
    contents = examine(path, len(schema()))
    assert contents.damage is None
    assert {row[1] for row in contents.rows["contact"]} == set(range(100, 200))


def test_whole_numbers_are_times_too(path: str) -> None:
    assert load(path, contact(1, at=7)) == 0
    contents = examine(path, len(schema()))
    assert (contents.damage, contents.rows["contact"]) == (None, [("10.0.0.1", 1, b"i" * 20, 7.0)])


def test_dump_is_imported_without_a_difference(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = StateFile(path)
    rows = [
        Change("meta", ("a",), (b"bytes",)),
        Change("meta", ("b",), (2**62,)),
        Change("meta", ("c",), (0.1,)),
        Change("own_item", (b"t" * 20,), (b"1:a", b"k" * 32, b"s" * 64, -(2**63), b"salt", 1e9, None)),
        Change("peer", (b"\xff\0name", "10.0.0.1", 1), ("10.0.0.2", 2, 0.1)),
        Change("own_announce", (b"name", 0), (3.25,)),
        records.withdrawal_change(records.WithdrawalRecord(b"name", ("", 7), 0.5)),
        records.withdrawal_change(records.WithdrawalRecord(b"name", ("10.0.0.1", 7), 0.5)),
    ]
    file.commit(rows)
    file.close()
    assert state_cli.dump(path) == 0
    assert load(f"{path}.2", *capsys.readouterr().out.splitlines()) == 0
    assert examine(f"{path}.2", 1) == examine(path, 1)


def test_older_version_takes_what_it_knows_of_a_dump_of_a_newer_one(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    schema_row = {"table": "meta", "name": "schema", "value": 2}
    later = [contact(1, more=None), json.dumps(schema_row), json.dumps({"table": "later", "name": "a"})]
    assert load(path, *later) == state_cli.EXIT_DAMAGED
    assert capsys.readouterr() == (f"{path}: 1 rows written\n", "grape: 1 invalid lines skipped\n")
    contents = examine(path, len(schema()))
    assert (contents.damage, contents.version) == (None, 1)
    assert contents.rows["contact"] == [("10.0.0.1", 1, b"i" * 20, 1.0)]


def test_import_names_the_damaged_file_that_it_moved_aside(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(path).write_bytes(b"")
    assert load(path, contact(1)) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}: 1 rows written\n"
    assert re.fullmatch(
        rf"grape: {path}: damaged \(empty file\); moved to {path}\.damaged-20\S+; 0 rows recovered\n", err
    )


@pytest.mark.parametrize(
    "beat",
    [
        "[Infinity, 1.0, 'a', 1.0]".replace("'", '"'),
        '[1.0, Infinity, "a", 1.0]',
        '[1.0, NaN, "a", 1.0]',
        '[1.0, 1e18, "a", 1.0]',
        '[1.0, -1e18, "a", 1.0]',
        '[1.0, 1e11, "a", 1.0]',
        f'[1.0, {"9" * 400}, "a", 1.0]',
        DEEP,
    ],
    ids=lambda beat: beat[:40],
)
def test_invalid_heartbeat_is_left_out(path: str, beat: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Heartbeat.from_text(beat) is None
    file = StateFile(path)
    file.commit([Change("meta", (HEARTBEAT,), (beat,))])
    file.close()
    assert state_cli.check(path) == 0
    assert capsys.readouterr().out == (
        f"{path}: intact, schema 1\n0 items, 0 own items, 0 peers, 0 own announces, 0 contacts\n"
    )


@pytest.mark.parametrize("wall", [MAX_CLOCK_SECONDS - 1, 1 - MAX_CLOCK_SECONDS])
def test_heartbeat_within_the_limits_is_shown_as_a_date(path: str, wall: float) -> None:
    file = StateFile(path)
    file.commit([Change("meta", (HEARTBEAT,), (json.dumps([1.0, wall, "", 0.0]),))])
    file.close()
    assert state_cli.check(path) == 0


def test_file_in_an_unwritable_folder_is_read(path: str) -> None:
    assert load(path, contact(1)) == 0

    class ReadOnly(sqlite3.Connection):
        def execute(self, *_: object) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error

    def unwritable(path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, factory=ReadOnly)

    contents = examine(path, 1, unwritable)
    assert (contents.damage, len(contents.rows["contact"])) == (None, 1)
    # Rows in these logs belong to the file.
    for suffix in ("-journal", "-wal"):
        Path(f"{path}{suffix}").touch()
        with pytest.raises(
            StateError, match=f"readonly database; copy it and {path}{suffix} to a writable folder first"
        ):
            examine(path, 1, unwritable)
    assert examine(path, 1, connect).damage is None


def command(*words: str, output: int, input: bytes = b"") -> tuple[int, str]:
    """The status and the stderr of ``grape state`` as a process."""
    grape = [sys.executable, "-m", "grape", "state", *words]
    ran = subprocess.run(grape, stdout=output, stderr=subprocess.PIPE, input=input, check=False)
    return ran.returncode, ran.stderr.decode()


@pytest.mark.parametrize("rows", [1, 5_000])
def test_closed_output_ends_the_command(path: str, rows: int) -> None:
    assert load(path, *(contact(1 + n) for n in range(rows))) == 0
    reader, writer = os.pipe()
    os.close(reader)
    try:
        for word in ("dump", "check"):
            assert command(word, path, output=writer) == (74, "grape: input or output: Broken pipe\n")
    finally:
        os.close(writer)


def test_lines_that_are_not_utf8_are_skipped(path: str) -> None:
    lines = b"\xff\xfe\n" + contact(1).encode() + b"\n"
    said = command("import", path, output=subprocess.DEVNULL, input=lines)
    assert said == (1, "grape: 1 invalid lines skipped\n")
    assert len(examine(path, 1).rows["contact"]) == 1


def test_check_prints_json(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    load(path, contact(1), contact(2))
    capsys.readouterr()
    for words in (["check", "--json", path], ["check", path, "--json"]):
        assert state_cli.main(words) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["file"], told["is_intact"], told["damage"], told["contacts"]) == (path, True, None, 2)
        assert (told["schema"], told["node_id"], told["last_written"]) == (len(schema()), None, None)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["check", "--help"]], ids=" ".join)
def test_help_has_a_line_for_each_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert state_cli.main(words) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "usage: grape state COMMAND FILE"
    assert [line.split()[:2] for line in lines if line.startswith("  ")] == [
        ["check", "FILE"],
        ["dump", "FILE"],
        ["import", "FILE"],
        ["new-id", "FILE"],
    ]
    assert max(map(len, lines)) <= 100
    assert err == ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["chek", "FILE"], "unknown command 'chek'"),
        (["check"], "check takes one file, not 0"),
        (["import", "a", "b"], "import takes one file, not 2"),
        (["import", "--force"], "unknown option '--force'"),
        (["--force"], "unknown command '--force'"),
    ],
)
def test_usage_error_is_one_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert state_cli.main(words) == 2
    assert capsys.readouterr() == ("", f"grape: {problem}; usage: grape state check|dump|import|new-id FILE\n")


def test_new_id_replaces_the_id_and_drops_the_own_announces(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    announce = {"table": "own_announce", "key": {"hex": "61"}, "port": 7, "at": 1.0}
    node_id = {"table": "meta", "name": records.NODE_ID, "value": {"hex": "69" * 20}}
    withdrawal = {
        "table": "peer",
        "key": {"hex": "61"},
        "port": 7,
        "at": 1.0,
        "announcer_host": "",
        "announcer_port": 0,
    }
    own, others = (json.dumps({**withdrawal, "host": host}) for host in ("", "10.0.0.1"))
    assert load(path, json.dumps(node_id), json.dumps(announce), own, others) == 0
    assert state_cli.main(["check", path]) == 0
    assert "1 own announces, 0 contacts, 2 withdrawals\n" in capsys.readouterr().out
    before = records.read(examine(path, len(schema())).rows)
    assert before.node_id == b"i" * 20
    assert len(before.own_announces) == 1
    assert state_cli.main(["new-id", path]) == 0
    after = records.read(examine(path, len(schema())).rows)
    assert after.node_id is not None
    assert len(after.node_id) == 20
    assert after.node_id != b"i" * 20
    assert after.own_announces == []
    assert [record.peer for record in after.withdrawals] == [("10.0.0.1", 7)]
    assert after.node_id.hex() in capsys.readouterr().out


def test_new_id_of_a_missing_file_is_an_error(path: str) -> None:
    assert state_cli.main(["new-id", path]) == state_cli.EXIT_FILE
    assert not os.path.exists(path)
