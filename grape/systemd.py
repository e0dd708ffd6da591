"""Speaks with systemd: sends it sd_notify messages, and takes the sockets that socket units opened.

Both begin with variables of the environment, which are read once and removed, so that no child process believes them to
be its own. They have to be read before ``twisted.internet.endpoints`` is imported, which removes them, too; the HTTP
site imports it soon after the start. Sources: sd_notify(3), sd_listen_fds(3), systemd.socket(5).
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress

FIRST_DESCRIPTOR = 3
#: The names of the sockets (``FileDescriptorName=``): of the DHT, UDP, and of the HTTP API, TCP.
DHT, API = "dht", "api"
# The name that systemd gives to a socket without one is that of its unit; from other programs a name may be missing.
UNNAMED = "unknown"
SEND_SECONDS = 0.5

_ACTIVATION = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NOTIFICATION = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
#: The process was started by systemd, or by something like it, if one of these variables is set.
VARIABLES = (*_ACTIVATION, *_NOTIFICATION)


class ActivationError(Exception):
    """Raised for a socket that a grape cannot use; the text says which, and what to change in its unit."""


class Notifier:
    """Sends messages to the socket at ``path``, which begins with "@" in the abstract namespace.

    ``watchdog_seconds`` is the time within which systemd wants to hear from the process again and again; None: never.
    """

    def __init__(self, path: str, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._address = f"\0{path[1:]}" if path.startswith("@") else path

    def send(self, *assignments: str) -> bool:
        """Sends assignments such as "READY=1" in one message; returns False if nobody takes it. Never raises.

        Newlines within an assignment become spaces. Waits for at most SEND_SECONDS, if the receiver is too busy.
        """
        message = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(SEND_SECONDS)
                sending.sendto(message.encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            return False
        return True


def take_notifier(environment: MutableMapping[str, str], pid: int) -> Notifier | None:
    """Returns what sends messages to systemd; None if it waits for none. Removes the variables of sd_notify.

    ``pid`` is this process's id.
    """
    given = _take(environment, _NOTIFICATION)
    path = given.get("NOTIFY_SOCKET", "")
    # Other kinds of sockets (vsock) are for virtual machines.
    if len(path) < 2 or path[0] not in "/@":
        return None
    microseconds, process = given.get("WATCHDOG_USEC", ""), given.get("WATCHDOG_PID", str(pid))
    is_watched = microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0 and process == str(pid)
    return Notifier(path, int(microseconds) / 1e6 if is_watched else None)


def take_sockets(environment: MutableMapping[str, str], pid: int) -> Mapping[str, socket.socket]:
    """Returns the sockets that systemd hands over, by DHT and API. Removes the variables of sd_listen_fds.

    They do not block, and no child process inherits them. Raises ActivationError for a socket that a grape does not
    know or of a wrong kind; all are closed then.
    """
    given = _take(environment, _ACTIVATION)
    if given.get("LISTEN_PID") == str(pid):
        count = given.get("LISTEN_FDS", "")
        if not (count.isascii() and count.isdigit()):
            raise ActivationError(f"LISTEN_FDS is no number: {count!r}")
        descriptors: Sequence[int] = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
        names: Sequence[str] = given["LISTEN_FDNAMES"].split(":") if given.get("LISTEN_FDNAMES") else ()
    else:
        descriptors, names = _taken_by_twisted()
    return _adopt(descriptors, [*names, *[UNNAMED] * (len(descriptors) - len(names))])


def _take(environment: MutableMapping[str, str], names: Sequence[str]) -> Mapping[str, str]:
    return {name: environment.pop(name) for name in names if name in environment}


def _taken_by_twisted() -> tuple[Sequence[int], Sequence[str]]:
    """Returns the descriptors and names that ``twisted.internet.endpoints`` took from the environment.

    twistd and twist import it before anything of ours where they cannot write or find the cache of their plugins.
    """
    parser = getattr(sys.modules.get("twisted.internet.endpoints"), "_SystemdParser", None)
    taken = getattr(parser, "_sddaemon", None)
    if taken is None:
        return (), ()
    descriptors: list[int] = taken.inheritedDescriptors()
    names = {descriptor: name for name, descriptor in taken.inheritedNamedDescriptors().items()}
    return descriptors, [names.get(descriptor, UNNAMED) for descriptor in descriptors]


def _adopt(descriptors: Sequence[int], names: Sequence[str]) -> Mapping[str, socket.socket]:
    adopted: dict[str, socket.socket] = {}
    try:
        for descriptor, name in zip(descriptors, names, strict=False):
            problem = f"socket {name!r} (descriptor {descriptor}) from systemd"
            if name not in (DHT, API):
                raise ActivationError(f"{problem} is neither {DHT!r} nor {API!r}: set FileDescriptorName= in its unit")
            if name in adopted:
                raise ActivationError(f"{problem} is the second of that name: a grape takes one")
            adopted[name] = opened = _open(descriptor, problem)
            kind = opened.family, opened.type
            if name == DHT and kind != (socket.AF_INET, socket.SOCK_DGRAM):
                raise ActivationError(
                    f"{problem} is no UDP socket for IPv4: its unit needs ListenDatagram=0.0.0.0:PORT, or another "
                    "address instead of 0.0.0.0"
                )
            if name == API and not _is_listening(opened):
                raise ActivationError(f"{problem} is no TCP socket that listens: its unit needs ListenStream=")
    except ActivationError:
        for opened in adopted.values():
            opened.close()
        raise
    return adopted


def _open(descriptor: int, problem: str) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise ActivationError(f"{problem} is no socket")
        opened = socket.socket(fileno=descriptor)
        # systemd's are blocking, and a blocking one would stop the reactor.
        opened.setblocking(False)
        opened.set_inheritable(False)
    except OSError as error:
        raise ActivationError(f"{problem} cannot be used: {error.strerror or error}") from error
    return opened


def _is_listening(opened: socket.socket) -> bool:
    if opened.family not in (socket.AF_INET, socket.AF_INET6) or opened.type != socket.SOCK_STREAM:
        return False
    with suppress(OSError, AttributeError):
        return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return True
