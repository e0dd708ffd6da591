"""Exit statuses: failures are told apart by the status of the process, under every command, and by one line."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.processes import COMMANDS, HOST, new_api, until

BIN = Path(COMMANDS["grape"][0]).parent
DAEMON = [str(BIN / "twistd"), "--pidfile=grape.pid", "--logfile=twistd.log", "grape"]
every_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is taken for UDP and TCP."""
    port = new_api().dht_port
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind((HOST, port))
        tcp.bind((HOST, port))
        tcp.listen()
        yield port


# The flags of a start that fails, the status, and how the line ends.
FAILURES = {
    "wrong setting": (["--dp", "x"], 78, "--dp takes a whole number from 0 to 65535, not 'x'"),
    "wrong file": (["--config", "none.toml"], 78, "--config none.toml: No such file or directory"),
    "UDP port": (["--dp", "TAKEN"], 69, ": Address already in use (--dp chooses another port)"),
    "TCP port": (["--aph", "TAKEN"], 69, ": Address already in use (--aph chooses another port)"),
    "address": (["-b", "192.0.2.1"], 69, ": Cannot assign requested address (-b chooses another address)"),
    "UDP address": (
        ["--dht-bind", "192.0.2.1"],
        69,
        "UDP port 0 of 192.0.2.1: Cannot assign requested address (--dht-bind chooses another address)",
    ),
    "TCP address": (
        ["--api-bind", "192.0.2.1"],
        69,
        "TCP port 0 of 192.0.2.1: Cannot assign requested address (--api-bind chooses another address)",
    ),
    "state": (["--state", "/dev/null"], 74, "grape: --state /dev/null: not a regular file"),
}
every_failure = pytest.mark.parametrize("failure", FAILURES)


def words_of(failure: str, taken: int) -> tuple[list[str], int, str]:
    """Returns flags, status and end of the line."""
    flags, status, line = FAILURES[failure]
    ports = ["-b", HOST, "--dp", "0", "--aph", "0"]
    return [*ports, *(str(taken) if flag == "TAKEN" else flag for flag in flags)], status, line


@every_command
@every_failure
def test_status_tells_failures_apart(start: Start, command: str, failure: str, taken: int) -> None:
    flags, status, line = words_of(failure, taken)
    process = start([*COMMANDS[command], *flags])
    assert process.ended() == status
    (said,) = process.stderr.splitlines()
    assert said.endswith(line)
    assert "Traceback" not in process.output


@every_failure
def test_daemon_of_twistd_says_on_its_terminal_why_it_does_not_start(
    start: Start, directory: Path, failure: str, taken: int
) -> None:
    flags, status, line = words_of(failure, taken)
    process = start([*DAEMON, *flags])
    # Twisted has one status for all that fails in the child that leaves the terminal.
    assert process.ended() == (status if status == 78 else 1)
    assert line in process.stderr
    assert "Traceback" not in process.output
    # By the child, which may end after the parent that waited for its word.
    until("the pid file is removed", lambda: not (directory / "grape.pid").exists())


@pytest.mark.parametrize(("command", "status"), [("twistd -n grape", 1), ("twist grape", 64)])
def test_wrong_option_of_the_runner_has_a_status_of_its_own(start: Start, command: str, status: int) -> None:
    process = start([COMMANDS[command][0], "--nonsense", "grape"])
    assert process.ended() == status
    assert "nonsense" in process.output


@every_command
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_status_after_a_signal(start: Start, command: str, number: signal.Signals) -> None:
    api = new_api()
    process = start([*COMMANDS[command], "-b", HOST, "--dp", str(api.dht_port), "--aph", str(api.api_port)])
    process.wait_for("an answer", api.answers)
    process.signal(number)
    assert process.ended() == (-number if command.startswith("twist") else 0)
