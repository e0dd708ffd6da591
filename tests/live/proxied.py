"""Three grapes at the addresses of docs/operations.md, in namespaces of the test's own, and the lines from there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.live.conftest import unavailable

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
SECONDS = 240

# Runs inside of the namespaces; ``program`` is to fill ``told``. Member 1 has its state on a small disk.
_AROUND = r"""
import contextlib, json, os, signal, socket, subprocess, sys, time, urllib.error, urllib.request
folder = sys.argv[1]
run = lambda *words: subprocess.run(words, check=True)
run("ip", "link", "set", "lo", "up")
for number in (1, 2, 3):
    run("ip", "address", "add", f"10.0.0.{number}/32", "dev", "lo")
disk = os.path.join(folder, "disk")
os.mkdir(disk)
run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk)
started, told = [], {}

def start(*command):
    started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return started[-1]

def start_grape(number):
    host, state = f"10.0.0.{number}", os.path.join(disk, "state") if number == 1 else ":memory:"
    bootstrap = ",".join(f"10.0.0.{other}:20001" for other in (1, 2, 3))
    return start(sys.executable, "-m", "grape", "-b", host, "--dp", "20001", "--aph", "30001", "--bn", bootstrap,
                 "--state", state)

def call(path, data=None, address="10.0.0.1:30001"):
    sent = json.dumps({"data": data}).encode() if data is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}/{path}", sent), timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text[:1] in b'{["' else text.decode()

def seconds_until(condition):
    began = time.monotonic()
    while time.monotonic() - began < 40:
        with contextlib.suppress(OSError):
            if condition():
                return round(time.monotonic() - began, 1)
        time.sleep(0.1)
    return None

try:
    exec(sys.argv[2])
finally:
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    for process in started:
        process.wait(10)
print(json.dumps(told))
"""


def documented(language: str) -> list[str]:
    """Returns the blocks of a language in the documentation."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def told_by(directory: Path, program: str, *tools: str) -> dict[str, Any]:
    """Runs a program in namespaces, with the names of _AROUND, and returns what it told.

    Skips the test where there are no namespaces, or one of the ``tools`` is missing.
    """
    for tool in ("ip", "unshare", *tools):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")
    command = ["unshare", "-n", "-m", sys.executable, "-c", _AROUND, str(directory), program]
    inside = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if "unshare" in inside.stderr or "Operation not permitted" in inside.stderr:
        unavailable(f"network and mount namespaces are not to be had: {inside.stderr.strip()}")
    assert inside.returncode == 0, inside.stderr
    told: dict[str, Any] = json.loads(inside.stdout)
    return told
