"""grape.cli.keeping: announces that are repeated until a signal ends the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from gauntlet.machine import until
from tests.cli.conftest import SECONDS, OneGrape, environment

NAME = "rest:\x1butil"


class Kept:
    """A process of ``grape announce --keep``, all of whose output is read."""

    def __init__(self, url: str, *words: str, ignored: signal.Signals | None = None) -> None:
        def heed() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)
            if ignored != signal.SIGINT:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        command = [sys.executable, "-m", "grape", "announce", NAME, "1337", "--keep", "--url", url, *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=heed
        )
        self.out: list[str] = []
        self.err: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            Thread(target=self.out.extend, args=(self.process.stdout,), daemon=True),
            Thread(target=self._read, args=(self.process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, what: str, holds: Callable[[], object]) -> None:
        until(what, holds, SECONDS)

    def says(self, text: str) -> None:
        """Waits until a line on stderr has a text."""
        self.wait_for(text, lambda: any(text in line for line in self.err))

    def ended(self, number: signal.Signals) -> int:
        """Sends a signal, and returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(SECONDS)
        for thread in self._threads:
            thread.join()
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self, lines: Iterator[str]) -> None:
        with suppress(ValueError):
            for line in lines:
                self.err.append(line)


@contextmanager
def kept(url: str, *words: str, ignored: signal.Signals | None = None) -> Iterator[Kept]:
    begun = Kept(url, *words, ignored=ignored)
    try:
        yield begun
    finally:
        begun.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_kept_announce_is_withdrawn_at_a_signal(fake: OneGrape, number: signal.Signals) -> None:
    with kept(fake.url) as begun:
        begun.says("is announced at port 1337")
        assert fake.asked("/unannounce") == []
        assert begun.ended(number) == 0
    assert fake.asked("/announce") == [[NAME, 1337]]
    assert fake.asked("/unannounce") == [[NAME, 1337]]
    assert begun.out == []
    assert begun.err == [
        "grape: rest:\\x1butil is announced at port 1337 until this command is ended (Ctrl-C)\n",
        "grape: rest:\\x1butil is announced no more\n",
    ]


def test_kept_announce_by_a_node_grape_ends_without_a_word_of_what_it_cannot(fake: OneGrape) -> None:
    fake.become_a_node_grape()
    with kept(fake.url) as begun:
        begun.says("is announced at port 1337")
        assert begun.ended(signal.SIGTERM) == 0
    assert len(begun.err) == 2


def test_kept_announce_is_repeated_within_its_time_to_live(fake: OneGrape) -> None:
    with kept(fake.url, "--ttl", "1") as begun:
        begun.wait_for("three announces", lambda: len(fake.asked("/announce")) >= 3)
        assert begun.ended(signal.SIGTERM) == 0
    assert fake.asked("/announce")[:3] == [[NAME, 1337, {"ttl": 1}]] * 3


def test_kept_announce_comes_back_after_a_restart_of_the_grape(fake: OneGrape) -> None:
    with kept(fake.url, "--ttl", "1") as begun:
        begun.says("is announced at port 1337")
        # Its connection is closed, too.
        fake.hanging.set()
        fake.close()
        begun.says("cannot be announced, and is tried again")
        again = OneGrape(fake.port)
        try:
            begun.says("is announced again")
            assert begun.ended(signal.SIGINT) == 0
            assert again.asked("/announce")[0] == [NAME, 1337, {"ttl": 1}]
        finally:
            again.close()
    assert "Traceback" not in "".join(begun.err)
    assert all(line.startswith("grape: rest:\\x1butil ") for line in begun.err)


def test_kept_announce_that_fails_at_first_ends_with_the_reason(fake: OneGrape) -> None:
    with kept("http://127.0.0.1:1") as begun:
        assert begun.process.wait(SECONDS) == 4


def test_kept_announce_is_told_to_programs_once_it_is_made(fake: OneGrape) -> None:
    with kept(fake.url, "--json") as begun:
        begun.wait_for("a document", lambda: "}\n" in begun.out)
        assert begun.ended(signal.SIGTERM) == 0
    assert "".join(begun.out) == '{\n "name": "rest:\\u001butil",\n "port": 1337\n}\n'
    assert begun.err == []


def test_kept_announce_under_nohup_goes_on_after_hup(fake: OneGrape) -> None:
    with kept(fake.url, "--ttl", "1", ignored=signal.SIGHUP) as begun:
        begun.says("is announced at port 1337")
        os.kill(begun.process.pid, signal.SIGHUP)
        number = len(fake.asked("/announce"))
        begun.wait_for("two more announces", lambda: len(fake.asked("/announce")) >= number + 2)
        assert begun.ended(signal.SIGTERM) == 0


def test_kept_announce_whose_withdrawal_hangs_ends_at_a_second_signal(fake: OneGrape) -> None:
    with kept(fake.url, "--timeout", "600") as begun:
        begun.says("is announced at port 1337")
        fake.hanging.set()
        begun.process.send_signal(signal.SIGTERM)
        begun.wait_for("the withdrawal", lambda: fake.asked("/unannounce"))
        assert begun.ended(signal.SIGTERM) == -signal.SIGTERM
