"""Calls registered callbacks by the name of an event.

Short: one class, which ``node`` emits to and ``Grape.on`` describes.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

EVENTS = ("listening", "ready", "node", "peer", "announce", "warning")

Callback = Callable[..., object]

log = Logger(namespace="grape.node")


class Events:
    """Registers callbacks by event and calls them in turn; one that raises is logged, the others are still called."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in EVENTS}

    def on(self, event: str, callback: Callback) -> None:
        """Registers a callback for an event. Raises ValueError for an unknown event."""
        if event not in self._callbacks:
            raise ValueError(f"no event {event!r}; there are {', '.join(EVENTS)}")
        self._callbacks[event].append(callback)

    def off(self, event: str, callback: Callback) -> None:
        """Removes a callback from an event; one that is not registered is ignored."""
        callbacks = self._callbacks.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)

    def wanted(self, event: str) -> bool:
        """Returns True if an event has a callback."""
        return bool(self._callbacks[event])

    def emit(self, event: str, *arguments: object) -> None:
        """Calls the callbacks of an event with its arguments."""
        for callback in list(self._callbacks[event]):
            try:
                callback(*arguments)
            except Exception:
                log.failure("a callback of the event {event} failed", event=event)
