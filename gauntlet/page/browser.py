"""Drives a headless Chromium through a program for Node.js, which takes commands on its input."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any, Self

from gauntlet.machine import ROOT

#: The folder of the program, and of the packages that it needs once they are installed.
NODE = ROOT / "tests" / "live" / "node"
PACKAGES = ("playwright-core", "axe-core")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
POLL_SECONDS = 0.05
SECONDS = 15.0
END_SECONDS = 10.0


def reason_without_browser() -> str:
    """Returns why no page can be opened on this machine; "" if one can."""
    if not any(map(which, CHROMIUM)):
        return "Chromium is missing; Debian: apt install chromium"
    if not which("node"):
        return "the browser is driven by Node.js; Debian: apt install nodejs npm"
    if not all((NODE / "node_modules" / package / "package.json").is_file() for package in PACKAGES):
        return f"{PACKAGES[0]} is not installed; it is once make live has run, or: cd tests/live/node && npm install"
    return ""


class Browser:
    """A Chromium with one page, until ``close`` or the end of the ``with`` block.

    Raises RuntimeError if there is none.
    """

    def __init__(self) -> None:
        reason = reason_without_browser()
        if reason:
            raise RuntimeError(reason)
        chromium = next(filter(None, map(which, CHROMIUM)))
        command = ["node", str(NODE / "browser.js"), str(chromium)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def do(self, name: str, **arguments: object) -> Any:
        """Returns what a command of browser.js returns. Raises AssertionError with its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert "error" not in told, told["error"]
        return told["value"]

    def open(self, url: str, *, scheme: str = "light", width: int = 1_280, height: int = 900) -> None:
        """Opens a page in a new window, and waits until the grape has told something."""
        assert self.do("open", url=url, scheme=scheme, width=width, height=height) == 200
        self.until("document.querySelector('#state').dataset.state !== 'waiting'")

    def value(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        return self.do("value", script=script)

    def text(self, selector: str) -> str:
        """Returns the text that is shown in an element."""
        text: str = self.value(f"document.querySelector({json.dumps(selector)}).innerText")
        return text

    def until(self, script: str, seconds: float = SECONDS) -> None:
        """Waits until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"{script} is not true after {seconds} s: {self.text('body')[:2000]}"
            time.sleep(POLL_SECONDS)

    def until_text(self, selector: str, text: str, seconds: float = SECONDS) -> None:
        """Waits until an element shows a text."""
        shown = f"document.querySelector({json.dumps(selector)}).innerText"
        self.until(f"{shown}.includes({json.dumps(text)})", seconds)

    def shot(self, path: Path) -> None:
        """Writes a picture of the whole page as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.do("shot", path=str(path.absolute()))

    def press(self, *keys: str) -> None:
        """Presses keys."""
        self.do("press", keys=keys)

    def close(self) -> None:
        """Ends the browser."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
