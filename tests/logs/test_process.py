"""grape.logs.process: form and target of the log of a process."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from grape.logs.process import LineObserver, ProcessLog, is_journald

LOGGING = """
import sys
from grape.logs.process import ProcessLog
from twisted.logger import Logger

log = ProcessLog({form!r}, ["info"])
log.begin(sys.stderr)
Logger(namespace="grape.node").debug("one")
Logger(namespace="grape.node").info("two {{number}}", number=2)
Logger(namespace="twisted.web.http").info("three")
Logger(namespace="log_legacy").info("four")
Logger(namespace="twisted.web.http").warn("five")
for _ in range(3):
    Logger(namespace="grape.node").info("two {{number}}", number=3)
for _ in range(2):
    Logger(namespace="grape.daemon").info("asked", is_answer=True)
print("six")
log.flush()
"""


def logged(form: str | None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a process that logs to a pipe."""
    return subprocess.run(
        [sys.executable, "-c", LOGGING.format(form=form)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, **environment},
    )


def written(log: ProcessLog, file: TextIO, text: str = "one", level: str = "warn") -> None:
    """Logs one line to a file."""
    getattr(Logger(namespace="grape.node", observer=log.observer(file)), level)(text)


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """Opens a terminal: the file to write to, and the descriptor to read from."""
    leader, follower = pty.openpty()
    with open(follower, "w") as file:
        yield file, leader
    os.close(leader)


def test_log_has_a_line_with_its_time_for_what_an_operator_needs() -> None:
    ran = logged("text")
    assert ran.stdout == "six\n"
    lines = ran.stderr.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "[info] two 2",
        "[warn] five",
        "[info] two 3",
        "[info] asked",
        "[info] asked",
        "[info] repeated 2 times: two 3",
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} .*", line) for line in lines)


@pytest.mark.parametrize("form", [None, "json"])
def test_log_to_a_pipe_is_json(form: str | None) -> None:
    lines = [json.loads(line) for line in logged(form).stderr.splitlines()]
    assert [line["message"] for line in lines][-2:] == ["asked", "repeated 2 times: two 3"]
    assert lines[0]["number"] == 2
    assert lines[-1]["repeats"] == 2


def test_log_to_a_terminal_is_text_with_colour(terminal: tuple[TextIO, int]) -> None:
    file, leader = terminal
    written(ProcessLog(None, ["info"], {"TERM": "xterm"}), file)
    assert os.read(leader, 1_000).decode().partition(" ")[2] == "\x1b[33m[warn]\x1b[0m one\r\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_log_to_a_terminal_has_no_colour_where_none_is_wanted(
    terminal: tuple[TextIO, int], environment: dict[str, str]
) -> None:
    file, leader = terminal
    written(ProcessLog(None, ["info"], environment), file)
    assert os.read(leader, 1_000).decode().partition(" ")[2] == "[warn] one\r\n"


def test_log_to_journald_has_priorities(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with path.open("w") as file:
        status = os.fstat(file.fileno())
        environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journald(file, environment)
        written(ProcessLog("text", ["info"], environment), file)
        written(ProcessLog("json", ["info"], environment), file, level="info")
    text, line = path.read_text().splitlines()
    assert text == "<4>[warn] one"
    assert line.startswith("<6>{")
    assert json.loads(line.removeprefix("<6>"))["message"] == "one"


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense"])
def test_log_elsewhere_has_no_priorities(tmp_path: Path, stream: str) -> None:
    with (tmp_path / "log").open("w") as file:
        assert not is_journald(file, {"JOURNAL_STREAM": stream})
    assert not is_journald(file, {"JOURNAL_STREAM": stream})
    assert not is_journald(io.StringIO(), {"JOURNAL_STREAM": stream})


def test_log_counts_repeated_lines_for_each_observer_in_time() -> None:
    clock = Clock()
    log = ProcessLog("text", ["info"])
    log.flush_by(clock.callLater)
    out = io.StringIO()
    logger = Logger(namespace="grape.node", observer=log.observer(out))
    for _ in range(3):
        logger.info("a")
    assert out.getvalue().count("\n") == 1
    assert len(clock.getDelayedCalls()) == 1
    log.flush()
    assert out.getvalue().endswith("[info] repeated 2 times: a\n")


def test_log_whose_file_is_closed_or_full_is_ignored() -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError("no space left")

        def flush(self) -> None: ...

    closed = io.StringIO()
    closed.close()
    for file in (Full(), closed):
        LineObserver(file, lambda event: "a line")({})
