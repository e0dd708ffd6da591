"""Makes the twisted.web site behind the server, once the grape runs, without keeping its reactor from its work.

twisted.web, Klein and werkzeug are some 120 modules, 7 MB and 40 to 90 ms of processor time. A grape is reachable
before they are loaded. They are loaded soon after, and not at the first request that needs them: a running grape must
not depend on the files of its packages, which an upgrade may replace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from grape.metrics import Answers
from grape.reactor import Clock, Timer
from grape.web.site_modules import SteppedImport

if TYPE_CHECKING:
    from twisted.web.resource import IResource

    from grape.web.site import GrapeChannel, GrapeSite

# How long joining may take before the modules are loaded in any case.
JOIN_SECONDS = 3.0
# Between one module and the next: the reactor serves what has come in meanwhile.
PAUSE_SECONDS = 0.005

log = Logger(namespace="grape.web")


class LazySite:
    """The site behind the server: loaded by ``load_soon`` in steps, or at once for a connection that needs it earlier.

    ``make_resource`` returns the resource of the site, ``max_payload_size`` limits its bodies, in bytes;
    ``answers`` are as in GrapeSite.
    """

    def __init__(
        self,
        make_resource: Callable[[], IResource],
        max_payload_size: int,
        reactor: Clock,
        answers: Answers | None = None,
    ) -> None:
        self._make_resource = make_resource
        self._max_payload_size = max_payload_size
        self._reactor = reactor
        self._answers = answers
        self._site: GrapeSite | None = None
        self._timer: Timer | None = None
        self._modules = SteppedImport()

    @property
    def is_loaded(self) -> bool:
        """True once the site is made: from then on no module is loaded for a request."""
        return self._site is not None

    def set_max_payload_size(self, max_payload_size: int) -> None:
        """Limits bodies that begin from now on, in bytes."""
        self._max_payload_size = max_payload_size
        if self._site is not None:
            self._site.max_payload_size = max_payload_size

    def load_soon(self, joined: Deferred[None]) -> None:
        """Loads the modules one by one and makes the site, once ``joined`` fires or JOIN_SECONDS have passed.

        Does nothing if that is done or under way. ``stop`` ends it.
        """
        if self._site is not None or self._timer is not None:
            joined.addErrback(lambda _: None)
            return
        self._modules = SteppedImport()
        self._timer = timer = self._reactor.callLater(JOIN_SECONDS, self._load_next)

        def begin(_: object) -> None:
            if self._timer is timer and timer.active():
                timer.cancel()
                self._timer = self._reactor.callLater(PAUSE_SECONDS, self._load_next)

        joined.addCallbacks(begin, lambda _: None)

    def stop(self) -> None:
        """Loads nothing more of itself, and leaves no package half loaded."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        try:
            self._modules.finish()
        except Exception:
            log.failure("a package of the HTTP site cannot be loaded")

    def buildProtocol(self, addr: IAddress) -> GrapeChannel:
        """Returns what serves a connection from here on."""
        return cast("GrapeChannel", self._loaded().buildProtocol(addr))

    def close(self) -> Deferred[None]:
        """Closes the site's connections as GrapeSite.close does."""
        return self._site.close() if self._site is not None else succeed(None)

    def _load_next(self) -> None:
        self._timer = None
        if self._site is not None:
            return
        try:
            if self._modules.step():
                self._timer = self._reactor.callLater(PAUSE_SECONDS, self._load_next)
            else:
                self._loaded()
        except Exception:
            log.failure("the HTTP site cannot be loaded; the first request that needs it tries again")

    def _loaded(self) -> GrapeSite:
        if self._site is None:
            while self._modules.step():
                pass
            self.stop()
            from grape.web.site import GrapeSite

            self._site = GrapeSite(self._make_resource(), self._max_payload_size, self._reactor, self._answers)
        return self._site
