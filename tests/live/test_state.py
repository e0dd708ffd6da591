"""State files of real processes: their places, their locks, kills, a full disk, and ``grape state``."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
from pathlib import Path
from subprocess import run

import pytest

from tests.live.conftest import Start, StartGrape
from tests.live.processes import COMMANDS, HOST, GrapeProcess, new_api, post, until

GRAPE = COMMANDS["grape"][0]
FULL_BYTES = 400_000


def put(grape: GrapeProcess, value: str) -> tuple[int, bytes]:
    return post(grape.api.api_port, "/put", b'{"data":"%b"}' % value.encode())


def kill(grape: GrapeProcess) -> None:
    grape.process.signal(signal.SIGKILL)
    grape.process.ended()


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_process_goes_on_where_it_was(grape_process: StartGrape, directory: Path, command: str) -> None:
    first = grape_process(command=command)
    hash = first.call("put", "kept")
    file = directory / f"grape-{first.api.dht_port}.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kill(first)
    again = grape_process(command=command, api=first.api)
    assert again.call("get", hash)["v"] == "kept"
    assert again.end() in (0, -signal.SIGTERM)
    assert sorted(name.name for name in directory.iterdir() if "sqlite" in name.name) == [
        file.name,
        f"{file.name}.lock",
    ]


def test_twistd_daemon_has_its_file_in_its_rundir(start: Start, directory: Path, tmp_path: Path) -> None:
    api = new_api()
    rundir = tmp_path / "rundir"
    rundir.mkdir()
    twistd = COMMANDS["twistd -n grape"][0]
    ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
    pid_file = rundir / "pid"
    command = [twistd, f"--rundir={rundir}", f"--pidfile={pid_file}", f"--logfile={rundir / 'log'}", "grape", *ports]
    assert start(command).ended() == 0
    pid = int(pid_file.read_text())
    try:
        until("the daemon serves", api.answers)
        api.call("put", "kept")
        assert (rundir / f"grape-{api.dht_port}.sqlite").exists()
    finally:
        os.kill(pid, signal.SIGTERM)
        until("the daemon ended", lambda: not pid_file.exists())


def test_state_directory_of_systemd_is_used(grape_process: StartGrape, tmp_path: Path, directory: Path) -> None:
    folder = tmp_path / "lib"
    folder.mkdir()
    grape = grape_process(environment={"STATE_DIRECTORY": f"{folder}:/elsewhere"})
    assert (folder / f"grape-{grape.api.dht_port}.sqlite").exists()
    assert not list(directory.glob("*.sqlite"))


def test_state_in_memory_is_lost_with_the_process(grape_process: StartGrape, directory: Path) -> None:
    grape = grape_process("--state", ":memory:")
    hash = grape.call("put", "kept")
    kill(grape)
    assert grape_process("--state", ":memory:", api=grape.api).call("get", hash) is None
    assert not list(directory.glob("*sqlite*"))


def test_port_chosen_by_the_system_means_no_state_file(start: Start, directory: Path) -> None:
    api = new_api()
    start([GRAPE, "--dp", "0", "--aph", str(api.api_port), "-b", HOST]).wait_for("an answer", api.answers)
    assert not list(directory.glob("*sqlite*"))


def test_second_process_is_told_which_process_uses_the_file(
    grape_process: StartGrape, start: Start, directory: Path
) -> None:
    first = grape_process()
    name = f"grape-{first.api.dht_port}.sqlite"
    second = start([GRAPE, "--dp", "0", "--aph", "0", "--state", name])
    assert second.ended() == 69
    pid = first.process.pid
    path = f"{directory.resolve()}/{name}"
    assert re.fullmatch(
        rf"grape: state file {path} is in use by process {pid} since .* UTC; waiting up to 5 s for it\n"
        rf"grape: --state {path}: in use by process {pid} since .* UTC\n",
        second.stderr,
    )
    imported = run(
        [GRAPE, "state", "import", name], cwd=directory, input="", capture_output=True, text=True, check=False
    )
    assert imported.returncode == 69
    assert re.fullmatch(
        rf"grape: {directory.resolve()}/{name}: in use by process {pid} since .* UTC\n", imported.stderr
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_unwritable_place_ends_the_process(start: Start, command: str) -> None:
    process = start([*COMMANDS[command], "--dp", "0", "--aph", "0", "--state", "/proc/none/a.sqlite"])
    assert process.ended() == 74
    assert process.stderr.count("grape: --state /proc/none/a.sqlite: No such file or directory\n") == 1


def test_full_disk_refuses_puts_until_there_is_room(grape_process: StartGrape) -> None:
    grape = grape_process()
    pid = grape.process.pid
    kept = [grape.call("put", f"before {n}") for n in range(20)]
    grape.call("announce", ["name", 1])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
    refused = 0
    for n in range(400):
        status, body = put(grape, f"{n} {'x' * 900}")
        if status == 200:
            kept.append(body.decode().strip('"'))
        else:
            assert (status, body) == (503, b'"ERR_GRAPE_STATE: the item cannot be kept"')
            refused += 1
    assert refused > 10
    assert (
        len(re.findall(r"state file .* cannot be written \(.+\); puts are refused until it can", grape.process.output))
        == 1
    )
    # Memory is served.
    assert all(grape.call("get", hash) is not None for hash in kept)
    assert grape.call("lookup", "name") == [f"{HOST}:1"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    kept.append(until("puts are taken again", lambda: _taken(put(grape, "after"))))
    # Failure and recovery are both logged, once each.
    assert len(re.findall(r"state file \S+ can be written again\n", grape.process.output)) == 1
    kill(grape)
    again = grape_process(api=grape.api)
    assert all(again.call("get", hash) is not None for hash in kept)
    assert "damaged" not in again.process.output


def _taken(answer: tuple[int, bytes]) -> str | None:
    return answer[1].decode().strip('"') if answer[0] == 200 else None


def test_state_is_checked_dumped_and_imported_into_a_new_file(grape_process: StartGrape, directory: Path) -> None:
    grape = grape_process()
    hash = grape.call("put", "kept")
    name = f"grape-{grape.api.dht_port}.sqlite"

    def state(*words: str, input: str = "") -> tuple[int, str, str]:
        ran = run([GRAPE, "state", *words], cwd=directory, input=input, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, ran.stderr

    # While a node uses the file.
    status, out, err = state("check", name)
    assert (status, err) == (0, "")
    assert out.startswith(f"{name}: intact, schema 1\nnode id ")
    assert "0 items, 1 own items, 0 peers, 0 own announces, 0 contacts\nlast written 20" in out
    kill(grape)
    status, lines, err = state("dump", name)
    assert (status, err) == (0, "")
    (directory / name).write_bytes(b"SQLite format 3\0" + bytes(5_000))
    assert state("check", name)[0] == 1
    (directory / name).unlink()
    assert state("import", name, input=lines) == (0, f"{name}: {lines.count(chr(10)) - 1} rows written\n", "")
    assert grape_process(api=grape.api).call("get", hash)["v"] == "kept"
    assert state("import", "other.sqlite", input="nonsense\n{}\n") == (
        1,
        "other.sqlite: 0 rows written\n",
        "grape: 2 invalid lines skipped\n",
    )
    assert state("check", "none.sqlite") == (74, "", "grape: none.sqlite: No such file or directory\n")
    assert state("check") == (
        2,
        "",
        "grape: check takes one file, not 0; usage: grape state check|dump|import|new-id FILE\n",
    )
    status, out, err = state()
    assert (status, out.splitlines()[0], err) == (0, "usage: grape state COMMAND FILE", "")
