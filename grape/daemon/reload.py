"""Reads the settings of a running grape again, and changes those that can change while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.logger import Logger

from grape.config import Config
from grape.service import Grape
from grape.settings.declaration import Declaration, differences, evolved, settings_of
from grape.settings.places import BadConfig, Source, build

MAX_SHOWN_CHARACTERS = 200

log = Logger(namespace="grape.daemon")


class Reloader:
    """Reads ``source`` again when it is called; the log says what was changed, or why nothing was.

    ``config`` is what the source said at the start, ``set_levels(levels)`` changes those of the log, ``fit(config)``
    returns a config with limits that the process can keep. The functions in ``before`` are called first, those in
    ``after`` at the end, whether or not the new settings were taken; one that raises is logged.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        grape: Grape,
        set_levels: Callable[[Sequence[str]], object],
        fit: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self._source = source
        self._config = config
        self._grape = grape
        self._set_levels = set_levels
        self._fit = fit
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def __call__(self) -> None:
        """Reads the settings, and changes what differs. Never raises."""
        _call(self.before)
        try:
            self._reload()
        except Exception:
            log.failure("the settings could not be read again; goes on with the old ones")
        finally:
            _call(self.after)

    def _reload(self) -> None:
        gathered = self._source.read()
        try:
            config = build(type(self._config), gathered)
        except BadConfig as error:
            for problem in error.problems:
                log.error("{line}", line=problem, is_answer=True)
            _say("SIGHUP: wrong settings; nothing is changed", log.error)
            return
        for line in gathered.warnings:
            log.warn("{line}", line=line)
        old = self._config
        changed, fixed = differences(old, config)
        self._apply(changed)
        if changed:
            _say(f"SIGHUP: changed {_list(changed, old, config)}")
        if fixed:
            _say(f"SIGHUP: takes a restart: {_list(fixed, old, config)}", log.warn)
        if not changed and not fixed:
            _say("SIGHUP: no setting has changed; goes on")

    def _apply(self, changed: dict[str, object]) -> None:
        if not changed:
            return
        limited = evolved(self._grape.config, changed)
        # It warns where it lowers a limit: only if that limit has changed.
        self._grape.reconfigure(self._fit(limited) if "max_connections" in changed else limited)
        self._config = evolved(self._config, changed)
        if "log_level" in changed:
            self._set_levels(self._config.log_level)


def _list(names: Iterable[str], old: Config, new: Config) -> str:
    declaration: Declaration = type(old)
    settings = {setting.name: setting for setting in settings_of(declaration)}
    parts = []
    for name in names:
        before, after = (_shown(settings[name].shown(getattr(config, name))) for config in (old, new))
        parts.append(f"{name} from {before} to {after}")
    return ", ".join(parts)


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _call(hooks: Iterable[Callable[[], object]]) -> None:
    for hook in list(hooks):
        try:
            hook()
        except Exception:
            log.failure("hook {hook} of a reload failed", hook=hook)


def _say(line: str, say: Callable[..., object] = log.info) -> None:
    # Each is an answer of its own: the same one twice is written twice.
    say("{line}", line=line, is_answer=True)
