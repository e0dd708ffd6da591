"""Joins two TUN devices by a link that delays and loses packets.

``python -m gauntlet.lab.cable NEAR FAR PID SECONDS LOSS`` stands in for the kernel's sch_netem, which many kernels
lack. NEAR is made in the namespace of this process, FAR in that of the process PID. Each packet leaves the other device
SECONDS later, or never, with probability LOSS (0 to 1).
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
MTU = 1_500
# Packets on the way in one direction; more are lost, as in a router whose queue is full.
MAX_QUEUE = 10_000


def tun(name: str) -> int:
    """Makes a TUN device in the namespace of this process, and returns its file descriptor. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def forward(near: int, far: int, delay: float, loss: float) -> None:
    """Forwards packets between two descriptors, in both directions and in order, for ever."""
    dice = random.Random(1)
    ways: dict[int, tuple[int, deque[tuple[float, bytes]]]] = {near: (far, deque()), far: (near, deque())}
    while True:
        due = min((queue[0][0] for _, queue in ways.values() if queue), default=None)
        wait = None if due is None else max(due - time.monotonic(), 0.0)
        for descriptor in select.select([near, far], [], [], wait)[0]:
            try:
                packet = os.read(descriptor, MTU + 100)
            except OSError:
                # The device is down.
                continue
            queue = ways[descriptor][1]
            if len(queue) < MAX_QUEUE and dice.random() >= loss:
                queue.append((time.monotonic() + delay, packet))
        now = time.monotonic()
        for target, queue in ways.values():
            while queue and queue[0][0] <= now:
                _, packet = queue.popleft()
                try:
                    os.write(target, packet)
                except OSError:
                    # The device is down, and the packet is lost.
                    continue


def main(near: str, far: str, pid: str, seconds: str, loss: str) -> None:
    """Makes both devices, and forwards."""
    ends = tun(near), tun(far)
    subprocess.run(["ip", "link", "set", far, "netns", pid], check=True)
    forward(*ends, float(seconds), float(loss))


if __name__ == "__main__":
    main(*sys.argv[1:])
