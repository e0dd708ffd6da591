"""Health checks as load balancers make them, with the lines of docs/operations.md, in namespaces of the test's own."""

from __future__ import annotations

from pathlib import Path

from tests.live.proxied import documented, told_by

# Until a cut is known and until its end is known, at the proxy.
SECONDS = 10.0

# HAProxy before two of the grapes, once with each of the documented health checks; the cut is of UDP alone.
HAPROXY = r"""
run("nft", "add table inet cut; add chain inet cut output { type filter hook output priority 0; }")

def proxy(backend="grapes"):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(os.path.join(folder, "admin"))
        admin.sendall(b"show stat\n")
        lines = b"".join(iter(lambda: admin.recv(65536), b"")).decode().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    return {row[1]: row[17].split()[0] for row in rows if row[0] == backend and row[1] in ("one", "two")}

both = {"one": "UP", "two": "UP"}
for number in (1, 2, 3):
    start_grape(number)
start("haproxy", "-f", os.path.join(folder, "haproxy.cfg"), "-db")
told["ready"] = seconds_until(lambda: proxy() == proxy("strict") == both and call("readyz")[0] == 200)
told["announced"] = call("announce", ["service", 1])[1]
for direction in ("saddr", "daddr"):
    run("nft", f"add rule inet cut output ip protocol udp ip {direction} 10.0.0.1 drop")
told["down"] = seconds_until(lambda: proxy() == {"one": "DOWN", "two": "UP"})
told["cut"] = call("readyz"), call("livez")[0]
told["through the proxy"] = call("lookup", "service", "127.0.0.1:30000")
run("nft", "flush chain inet cut output")
told["up"] = seconds_until(lambda: proxy() == proxy("strict") == both)
filler = open(os.path.join(disk, "filler"), "wb", buffering=0)

def degraded():
    # Fills the disk again, as another program would: each failure frees a little, the log of SQLite.
    with contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    call("put", f"{time.monotonic()}".ljust(900))
    return call("readyz?strict")[0] == 503

told["full"] = seconds_until(degraded)
told["full, strict"] = seconds_until(lambda: degraded() and proxy("strict") == {"one": "DOWN", "two": "UP"})
told["full disk"] = call("readyz"), call("lookup", "service"), proxy()
told["through both proxies"] = [call("lookup", "service", f"127.0.0.1:{port}") for port in (30000, 30009)]
told["put by strict"] = call("put", "on another disk", "127.0.0.1:30009")[0]
filler.close()
os.remove(filler.name)
told["freed"] = seconds_until(lambda: call("readyz?strict") == (200, {"status": "ready"}))
told["freed, strict"] = seconds_until(lambda: proxy("strict") == both)
"""


def test_haproxy_takes_a_grape_out_while_udp_is_cut_or_strictly_its_disk_is_full_and_back_afterwards(
    directory: Path,
) -> None:
    block, strict = documented("haproxy")
    plain = "    option httpchk GET /readyz\n"
    assert plain in block
    backend = "frontend" + block.partition("frontend")[2].replace(plain, strict)
    second = backend.replace("grapes", "strict").replace(":30000", ":30009")
    (directory / "haproxy.cfg").write_text(f"global\n    stats socket {directory}/admin\n\n{block}\n{second}")
    told = told_by(directory, HAPROXY, "haproxy", "nft")
    assert told["announced"] == 2
    for name in ("ready", "down", "up", "full", "full, strict", "freed", "freed, strict"):
        assert told[name] is not None, told
    assert told["down"] < SECONDS
    assert told["cut"] == [[503, {"status": "isolated", "problems": ["isolated"]}], 200]
    assert told["through the proxy"] == [200, ["10.0.0.1:1"]]
    assert told["up"] < SECONDS
    degraded = {"status": "degraded", "problems": ["degraded"]}
    assert told["full disk"] == [[200, degraded], [200, ["10.0.0.1:1"]], {"one": "UP", "two": "UP"}]
    assert told["through both proxies"] == [[200, ["10.0.0.1:1"]]] * 2
    assert told["put by strict"] == 200


# nginx before the same two: one of them dies, hangs, and comes back; then both are down.
NGINX = r"""
def calls(number):
    return [call("lookup", "service", "127.0.0.1:30002") for _ in range(number)]

def served():
    return call("status", address="127.0.0.1:30002")[1]["node_id"]

one, two, three = map(start_grape, (1, 2, 3))
start("nginx", "-c", os.path.join(folder, "nginx.conf"), "-p", folder)
told["ready"] = seconds_until(lambda: call("readyz", address="127.0.0.1:30002")[0] == 200)
told["announced"] = seconds_until(lambda: call("announce", ["service", 1], "10.0.0.3:30001")[1] == 2)
ids = {call("status", address=f"10.0.0.{number}:30001")[1]["node_id"] for number in (1, 2)}
told["both are used"] = seconds_until(lambda: {served() for _ in range(8)} == ids)
told["whole"] = calls(20)
one.kill()
one.wait()
told["one dead"] = calls(20)
one = start_grape(1)
told["one is back"] = seconds_until(lambda: {served() for _ in range(8)} == ids)
one.send_signal(signal.SIGSTOP)
told["one hangs"] = calls(3)
one.send_signal(signal.SIGCONT)
told["it goes on"] = seconds_until(lambda: {served() for _ in range(8)} == ids)
for process in (one, two):
    process.kill()
    process.wait()
told["both dead"] = calls(2)
two = start_grape(2)
told["two is back"] = seconds_until(lambda: call("lookup", "service", "127.0.0.1:30002") == (200, ["10.0.0.3:1"]))
"""


def test_nginx_goes_on_to_the_next_grape_when_one_dies_or_hangs_and_back_afterwards(directory: Path) -> None:
    (block,) = documented("nginx")
    (directory / "nginx.conf").write_text(
        f"daemon off;\nuser root;\nworker_processes 1;\npid {directory}/pid;\nerror_log {directory}/nginx.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{block}\n}}\n"
    )
    told = told_by(directory, NGINX, "nginx")
    for name in ("ready", "announced", "both are used", "one is back", "it goes on", "two is back"):
        assert told[name] is not None, told
    found = [200, ["10.0.0.3:1"]]
    assert told["whole"] == told["one dead"] == [found] * 20
    assert told["one hangs"] == [found] * 3
    assert [status for status, _ in told["both dead"]] == [502, 502]
