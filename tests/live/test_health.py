"""Health checks as load balancers make them, with the lines of docs/operations.md, in namespaces of the test's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import unavailable

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
# Until a cut is known and until its end is known, at the proxy.
SECONDS = 10.0

# Three grapes, HAProxy before two of them at the addresses of the documentation; the cut is of UDP alone.
PROGRAM = r"""
import contextlib, json, os, socket, subprocess, sys, time, urllib.error, urllib.request
folder = sys.argv[1]
run = lambda *words: subprocess.run(words, check=True)
run("ip", "link", "set", "lo", "up")
for number in (1, 2, 3):
    run("ip", "address", "add", f"10.0.0.{number}/32", "dev", "lo")
disk = os.path.join(folder, "disk")
os.mkdir(disk)
run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk)
run("nft", "add table inet cut; add chain inet cut output { type filter hook output priority 0; }")
started = []

def start(*command):
    started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

def call(path, data=None, address="10.0.0.1:30001"):
    sent = json.dumps({"data": data}).encode() if data is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}/{path}", sent), timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())

def proxy():
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(os.path.join(folder, "admin"))
        admin.sendall(b"show stat\n")
        lines = b"".join(iter(lambda: admin.recv(65536), b"")).decode().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    return {row[1]: row[17].split()[0] for row in rows if row[0] == "grapes" and row[1] in ("one", "two")}

def seconds_until(condition):
    began = time.monotonic()
    while time.monotonic() - began < 40:
        with contextlib.suppress(OSError):
            if condition():
                return round(time.monotonic() - began, 1)
        time.sleep(0.1)
    return None

told = {}
try:
    for number in (1, 2, 3):
        host, state = f"10.0.0.{number}", os.path.join(disk, "state") if number == 1 else ":memory:"
        bootstrap = ",".join(f"10.0.0.{other}:20001" for other in (1, 2, 3))
        start(sys.executable, "-m", "grape", "-b", host, "--dp", "20001", "--aph", "30001", "--bn", bootstrap,
              "--state", state)
    start("haproxy", "-f", os.path.join(folder, "haproxy.cfg"), "-db")
    told["ready"] = seconds_until(lambda: proxy() == {"one": "UP", "two": "UP"} and call("readyz")[0] == 200)
    told["announced"] = call("announce", ["service", 1])[1]
    for direction in ("saddr", "daddr"):
        run("nft", f"add rule inet cut output ip protocol udp ip {direction} 10.0.0.1 drop")
    told["down"] = seconds_until(lambda: proxy() == {"one": "DOWN", "two": "UP"})
    told["cut"] = call("readyz"), call("livez")[0]
    told["through the proxy"] = call("lookup", "service", "127.0.0.1:30000")
    run("nft", "flush chain inet cut output")
    told["up"] = seconds_until(lambda: proxy() == {"one": "UP", "two": "UP"})
    with open(os.path.join(disk, "filler"), "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    put = lambda: call("put", f"{time.monotonic()}".ljust(900))
    told["full"] = seconds_until(lambda: put() and call("readyz?strict")[0] == 503)
    told["full disk"] = call("readyz"), call("lookup", "service"), proxy()
    os.remove(os.path.join(disk, "filler"))
    told["freed"] = seconds_until(lambda: call("readyz?strict") == (200, {"status": "ready"}))
finally:
    for process in started:
        process.terminate()
    for process in started:
        process.wait(10)
print(json.dumps(told))
"""


def documented(language: str) -> list[str]:
    """Returns the blocks of a language in the documentation."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def test_haproxy_takes_a_grape_out_while_udp_is_cut_and_back_afterwards(directory: Path) -> None:
    for tool in ("haproxy", "nft", "ip", "unshare"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")
    (block,) = documented("haproxy")
    (directory / "haproxy.cfg").write_text(f"global\n    stats socket {directory}/admin\n\n{block}")
    inside = subprocess.run(
        ["unshare", "-n", "-m", sys.executable, "-c", PROGRAM, str(directory)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "unshare" in inside.stderr or "Operation not permitted" in inside.stderr:
        unavailable(f"network and mount namespaces are not to be had: {inside.stderr.strip()}")
    assert inside.returncode == 0, inside.stderr
    told = json.loads(inside.stdout)
    assert told["announced"] == 2
    assert told["down"] is not None
    assert told["down"] < SECONDS
    assert told["cut"] == [[503, {"status": "isolated", "problems": ["isolated"]}], 200]
    assert told["through the proxy"] == [200, ["10.0.0.1:1"]]
    assert told["up"] is not None
    assert told["up"] < SECONDS
    assert told["full"] is not None
    degraded = {"status": "degraded", "problems": ["degraded"]}
    assert told["full disk"] == [[200, degraded], [200, ["10.0.0.1:1"]], {"one": "UP", "two": "UP"}]
    assert told["freed"] is not None


def test_lines_for_nginx_are_understood(directory: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    (block,) = documented("nginx")
    config = directory / "nginx.conf"
    config.write_text(f"pid {directory}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{block}\n}}\n")
    checked = subprocess.run(
        ["nginx", "-t", "-q", "-p", str(directory), "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
