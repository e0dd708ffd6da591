"""Builds networks of hosts on one machine, out of network namespaces, and removes them whatever happens.

All namespaces are anonymous: they have no entry in /run/netns, and end with the processes in them. The names of
interfaces and the addresses are therefore a lab's own. A lab changes nothing in the network of the machine, and can run
beside others.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Self

import attrs

from gauntlet.lab.cable import MTU
from gauntlet.lab.host import Host, LabError
from gauntlet.machine import until

# Networks are 10.71.1.0/24, 10.71.2.0/24, and so on; hosts behind a cable are in 10.72.0.0/16.
NETWORK = "10.71"
FAR_NETWORK = "10.72"
ROUTER = 254
CABLE_SECONDS = 5.0
TOOLS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux"}
# Makes one of each thing that a lab needs of the kernel.
TRIAL = """
ip link add bridge0 type bridge
ip link add end0 type veth peer name end1
ip tuntap add dev tun0 mode tun
nft add table ip trial
nft add chain ip trial out '{ type nat hook postrouting priority 100; }'
nft add rule ip trial out masquerade
"""


@cache
def reason_missing() -> str:
    """Returns why there can be no lab on this machine; "" if there can."""
    missing = [package for tool, package in TOOLS.items() if not which(tool)]
    if missing:
        return f"a lab of hosts needs {', '.join(missing)}; Debian: apt install {' '.join(missing)}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", TRIAL], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        return f"a lab of hosts needs root, network namespaces, veth, TUN and nftables: {said}"
    return ""


@attrs.frozen
class Network:
    """Names a network of the lab, one bridge: addresses begin with ``prefix``."""

    number: int

    @property
    def prefix(self) -> str:
        """The first three numbers of its addresses, and the dots."""
        return f"{NETWORK}.{self.number}."

    @property
    def bridge(self) -> str:
        """The name of its bridge."""
        return f"bridge{self.number}"

    def address(self, last: int) -> str:
        """Returns the address that ends with a number."""
        return f"{self.prefix}{last}"


class Lab:
    """Makes networks and hosts, and ends them with the block: ``with Lab() as lab``.

    Needs what ``reason_missing`` tests. The bridges are in a namespace of their own.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lab-"))
        self.hosts: list[Host] = []
        self._networks = 0
        self._ends = 0
        self._links: dict[tuple[Host, str], str] = {}

    def __enter__(self) -> Self:
        try:
            self._switch = self.host("switch")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all hosts, and removes their files."""
        for host in self.hosts:
            host.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def network(self) -> Network:
        """Makes another network."""
        self._networks += 1
        made = Network(self._networks)
        self._switch.ip(f"link add {made.bridge} type bridge", f"link set {made.bridge} up")
        return made

    def host(self, name: str = "", network: Network | None = None, last: int = 0) -> Host:
        """Makes a host, and attaches it to a network, if one is named, with the address that ends with ``last``."""
        host = Host(name or f"host{len(self.hosts)}", self.directory / str(len(self.hosts)))
        self.hosts.append(host)
        if network is not None:
            self.attach(host, network, last)
        return host

    def attach(self, host: Host, network: Network, last: int) -> str:
        """Gives a host an interface in a network; returns the name of the interface."""
        interface, end = f"eth{host.interfaces}", f"end{self._ends}"
        host.interfaces += 1
        self._ends += 1
        self._links[host, interface] = end
        self._switch.ip(
            f"link add {end} type veth peer name {interface} netns {host.pid}",
            f"link set {end} master {network.bridge}",
            f"link set {end} up",
        )
        host.ip(f"addr add {network.address(last)}/24 dev {interface}", f"link set {interface} up")
        return interface

    def unplug(self, host: Host, interface: str = "eth0") -> None:
        """Takes the other end of an interface down: to the network it is as if the host were switched off."""
        self._switch.ip(f"link set {self._links[host, interface]} down")

    def router(self, *networks: Network) -> Host:
        """Makes a host that routes between networks; it has the address ``ROUTER`` in each."""
        router = self.host("router")
        for network in networks:
            self.attach(router, network, ROUTER)
        router.set_kernel("ipv4/ip_forward", "1")
        return router

    def far_host(self, router: Host, seconds: float, loss: float = 0.0, name: str = "far") -> tuple[Host, str]:
        """Makes a host behind a router, ``seconds`` away in each direction; returns it and its address.

        ``loss`` (0 to 1) is the share of packets that are lost in each direction.
        """
        far = self.host(name)
        number = self._ends = self._ends + 1
        near, address = f"{FAR_NETWORK}.{number}.1", f"{FAR_NETWORK}.{number}.2"
        cable = router.python("gauntlet.lab.cable", f"near{number}", "tun0", str(far.pid), str(seconds), str(loss))

        def plugged() -> bool:
            if cable.status is not None:
                raise LabError(f"the cable ended: {cable.log}")
            try:
                far.run("ip", "link", "show", "tun0")
            except LabError:
                return False
            return True

        until("the cable is plugged in", plugged, CABLE_SECONDS)
        size = f"mtu {MTU} txqueuelen 10000"
        router.ip(f"addr add {near} peer {address} dev near{number}", f"link set near{number} {size} up")
        far.ip(f"addr add {address} peer {near} dev tun0", f"link set tun0 {size} up", f"route add default via {near}")
        return far, address


def route(host: Host, network: Network) -> None:
    """Sends what a host has for other networks to the router of ``network``."""
    host.ip(f"route add default via {network.address(ROUTER)}")


def translate(router: Host, outside: str, inside: str, *, published: tuple[int, str, int] | None = None) -> None:
    """Makes a router translate addresses: what leaves ``inside`` by ``outside`` (interfaces) has the router's address.

    ``published``, (port, host, port), maps a UDP and TCP port of the router to one of a host inside.
    """
    rules = ""
    if published is not None:
        port, host, to = published
        rules = f"iifname {outside} meta l4proto {{ tcp, udp }} th dport {port} dnat to {host}:{to}"
    router.run(
        "nft",
        "-f",
        "-",
        text=f"""
table ip lab {{
  chain prerouting {{
    type nat hook prerouting priority -100
    {rules}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100
    oifname {outside} masquerade
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept
    ct status dnat accept
    iifname {outside} oifname {inside} ct state new drop
  }}
  chain input {{
    type filter hook input priority 0; policy accept
    iifname {{ {outside}, {inside} }} meta l4proto {{ tcp, udp }} ct state new drop
  }}
}}
""",
    )
