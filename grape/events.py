"""Callbacks by event name."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

EVENTS = ("listening", "ready", "node", "peer", "announce", "warning")

Callback = Callable[..., object]

log = Logger(namespace="grape")


class Events:
    """Who wants to hear of which event. A callback that raises is logged; the others still hear."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in EVENTS}

    def on(self, event: str, callback: Callback) -> None:
        """Call ``callback`` at each ``event``. Raises ValueError for an unknown event."""
        if event not in self._callbacks:
            raise ValueError(f"no event {event!r}; there are {', '.join(EVENTS)}")
        self._callbacks[event].append(callback)

    def off(self, event: str, callback: Callback) -> None:
        """Take back ``on``. A callback that is not there is passed over."""
        callbacks = self._callbacks.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)

    def wanted(self, event: str) -> bool:
        """Whether anybody listens."""
        return bool(self._callbacks[event])

    def emit(self, event: str, *arguments: object) -> None:
        """Tell everybody who listens."""
        for callback in list(self._callbacks[event]):
            try:
                callback(*arguments)
            except Exception:
                log.failure("a callback of the event {event} failed", event=event)
