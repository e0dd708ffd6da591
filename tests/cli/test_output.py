"""grape.cli.output: on a terminal, and elsewhere."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from grape.cli.output import age, counted, milliseconds
from grape.settings.texts import in_one_line
from tests.cli.conftest import SECONDS, OneGrape, environment

HIDE_CURSOR = "\x1b[?25l"


class Terminal:
    """A terminal of 120 columns, of which all that is printed is read."""

    def __init__(self) -> None:
        self._reading, self.writing = pty.openpty()
        self.text = ""

    def read(self) -> str:
        """Waits for more, and returns all that was printed so far."""
        try:
            self.text += os.read(self._reading, 100_000).decode()
        except OSError:
            # Linux says so once nobody has the other side open.
            raise EOFError from None
        return self.text

    def read_all(self) -> str:
        """Waits until nobody can print any more, and returns all that was printed."""
        with suppress(EOFError):
            while True:
                self.read()
        return self.text

    def close(self) -> None:
        os.close(self._reading)


@contextmanager
def on_a_terminal(fake: OneGrape, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    terminal = Terminal()
    begun = subprocess.Popen(
        [sys.executable, "-m", "grape", *words, "--url", fake.url],
        stdin=terminal.writing,
        stdout=terminal.writing,
        stderr=terminal.writing,
        env=environment(COLUMNS="120", **variables),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(terminal.writing)
    try:
        yield begun, terminal
    finally:
        begun.kill()
        begun.wait(SECONDS)
        terminal.close()


def printed(fake: OneGrape, *words: str, **variables: str) -> str:
    """Returns what a command prints on a terminal."""
    with on_a_terminal(fake, *words, **variables) as (_, terminal):
        return terminal.read_all()


@pytest.mark.parametrize("words", [["nodes"], ["status"]], ids=" ".join)
def test_words_for_states_are_coloured_on_a_terminal(fake: OneGrape, words: list[str]) -> None:
    assert "\x1b[32m" in printed(fake, *words)
    plain = printed(fake, *words, NO_COLOR="1")
    # Of all escapes no colour is left.
    assert not any(f"\x1b[{number}m" in plain for number in range(30, 38))
    assert "\x1b" not in printed(fake, *words, TERM="dumb")


def test_value_that_would_steer_a_terminal_is_escaped_there_alone(fake: OneGrape) -> None:
    fake.scripts["/get"] = lambda data: {"v": "a\x1b[2J\nb", "id": "00" * 20}
    assert printed(fake, "get", "5a" * 20) == "a\\x1b[2J\r\nb\r\n"
    ran = subprocess.run(
        [sys.executable, "-m", "grape", "get", "5a" * 20, "-u", fake.url],
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert ran.stdout == b"a\x1b[2J\nb\n"


def test_progress_is_shown_while_a_command_waits_and_is_gone_at_its_end(fake: OneGrape) -> None:
    fake.hanging.set()
    with on_a_terminal(fake, "lookup", "[/red]\x1b") as (begun, terminal):
        while "looking up [/red]\\x1b" not in terminal.text:
            terminal.read()
        begun.send_signal(signal.SIGINT)
        assert begun.wait(SECONDS) == 130
        terminal.read_all()
    assert "Traceback" not in terminal.text


def test_progress_leaves_the_cursor_where_a_signal_ends_the_command(fake: OneGrape) -> None:
    fake.hanging.set()
    with on_a_terminal(fake, "lookup", "a") as (begun, terminal):
        while "looking up a" not in terminal.text:
            terminal.read()
        begun.terminate()
        assert begun.wait(SECONDS) == -signal.SIGTERM
        terminal.read_all()
    assert HIDE_CURSOR not in terminal.text


def test_progress_is_not_shown_where_stderr_is_no_terminal(fake: OneGrape) -> None:
    fake.hanging.set()
    command = [sys.executable, "-m", "grape", "lookup", "a", "--timeout", "1.3", "--url", fake.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment())
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n"), "\x1b" in ran.stderr) == (4, "", 1, False)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rest:util:net", "rest:util:net"),
        ("ö €", "ö €"),
        ("a\nb", r"a\nb"),
        ("\x7f\x9b\u202e", r"\x7f\x9b\u202e"),
        ("\udcff", r"\udcff"),
    ],
)
def test_shown_text_is_one_line_without_control_characters(text: str, line: str) -> None:
    assert in_one_line(text) == line


def test_times_and_numbers_are_said_as_people_say_them() -> None:
    assert [age(seconds) for seconds in (None, 0.4, 119, 120, 7_199, 7_200, 172_800)] == [
        None,
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "2 d",
    ]
    assert [milliseconds(seconds) for seconds in (None, 0.00012, 1.5, 12)] == [None, "0.1 ms", "1500.0 ms", "12 s"]
    assert [counted(count, "peer") for count in (0, 1, 2)] == ["0 peers", "1 peer", "2 peers"]
