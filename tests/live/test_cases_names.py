"""Live grapes whose bootstrap nodes are names with several addresses, in namespaces with an /etc/hosts of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import unavailable

# Runs in namespaces of its own, for the network and for mounts: nothing outside sees its addresses or its hosts file.
PRELUDE = """
import json, os, subprocess, sys, time, urllib.request
folder = sys.argv[1]
hosts = os.path.join(folder, "hosts")
open(hosts, "w").write("127.0.0.1 localhost\\n")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
started = []

def name(*addresses):
    lines = "".join(f"{address} ring.test\\n" for address in addresses)
    open("/etc/hosts", "w").write("127.0.0.1 localhost\\n" + lines)

def grape(host, *flags):
    command = [sys.executable, "-m", "grape", "-b", host, "--dp", "21001", "--aph", "31001", "--state", ":memory:"]
    log = open(os.path.join(folder, host + ".log"), "w")
    started.append(subprocess.Popen([*command, *flags], stderr=log, cwd=folder))

def announce(host, key):
    request = urllib.request.Request(f"http://{host}:31001/announce", json.dumps({"data": [key, 5]}).encode())
    try:
        return json.loads(urllib.request.urlopen(request, timeout=5).read())
    except OSError:
        return None

def until(host, number):
    began = time.monotonic()
    while time.monotonic() - began < 30:
        if announce(host, f"key {time.monotonic()}") == number:
            print(f"{host}: {number}", "in time" if time.monotonic() - began < 10 else "late")
            return
        time.sleep(0.2)
    print(f"{host}: never {number}")

JOIN = ("--bn", "ring.test:21001")
try:
    CASE
finally:
    for process in started:
        process.terminate()
    for process in started:
        process.wait(10)
"""

CASES = {
    "the first address is dead": (
        """
    name("127.0.0.2", "127.0.0.3")
    grape("127.0.0.3")
    until("127.0.0.3", 1)
    grape("127.0.0.4", *JOIN)
    until("127.0.0.4", 1)
""",
        ["127.0.0.3: 1 in time", "127.0.0.4: 1 in time"],
    ),
    "the name stood for the grape itself": (
        """
    grape("127.0.0.3")
    until("127.0.0.3", 1)
    name("127.0.0.4")
    grape("127.0.0.4", *JOIN)
    time.sleep(2)
    assert announce("127.0.0.4", "alone") == "No nodes to query"
    name("127.0.0.3")
    until("127.0.0.4", 1)
""",
        ["127.0.0.3: 1 in time", "127.0.0.4: 1 in time"],
    ),
    "a whole ring behind one name, one dead": (
        """
    name("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
    for host in ("127.0.0.3", "127.0.0.4", "127.0.0.5"):
        grape(host, *JOIN)
    for host in ("127.0.0.3", "127.0.0.4", "127.0.0.5"):
        until(host, 2)
""",
        ["127.0.0.3: 2 in time", "127.0.0.4: 2 in time", "127.0.0.5: 2 in time"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_grape_joins_through_a_name_with_several_addresses(case: str, directory: Path) -> None:
    body, expected = CASES[case]
    program = PRELUDE.replace("    CASE\n", body.lstrip("\n"))
    inside = subprocess.run(
        ["unshare", "-n", "-m", sys.executable, "-c", program, str(directory)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "unshare" in inside.stderr:
        unavailable(f"network and mount namespaces are not to be had: {inside.stderr.strip()}")
    logs = "".join(f"{log.name}:\n{log.read_text()}" for log in sorted(directory.glob("*.log")))
    assert inside.stdout.splitlines() == expected, inside.stderr + logs
