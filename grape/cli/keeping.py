"""Keeps a service announced until a signal ends the command, for ``grape announce --keep``.

Under 60 lines: the link repeats the announce; here are signals and what people are told.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from grape.cli.output import print_json, say
from grape.client.blocking import Link

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def keep_announced(link: Link, name: str, port: int, ttl: float | None, *, as_json: bool) -> int:
    """Announces a service again and again, and withdraws it after INT, TERM or HUP; returns the exit status.

    A grape that is away is tried until it is back. Raises GrapeError if the first announce fails.
    """
    ended = threading.Event()
    _end_by_signals(ended)
    log = logging.getLogger("grape.client")
    log.addHandler(_Said())
    log.propagate = False
    with link.announcing(name, port, ttl=ttl):
        if as_json:
            print_json({"name": name, "port": port})
        else:
            say(f"grape: {name} is announced at port {port} until this command is ended (Ctrl-C)")
        ended.wait()
    if not as_json:
        say(f"grape: {name} is announced no more")
    return 0


def _end_by_signals(ended: threading.Event) -> None:
    """Has signals set ``ended``, but those that are ignored, as HUP is under nohup; a second one ends the process."""

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()
        for other in heeded:
            signal.signal(other, signal.SIG_DFL)

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, end)


class _Said(logging.Handler):
    """Prints what the client logs: that announces fail, and that they are made again."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"grape: {record.getMessage()}")
