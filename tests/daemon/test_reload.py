"""grape.daemon.reload: what changes while a grape runs, and what the log says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from grape import Config, Grape
from grape.daemon.reload import Reloader
from grape.settings.places import Source, build
from grape.testing import MemoryNetwork


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Lists what is logged, each line with its level."""
    said: list[str] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        said.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


class Reloading:
    """A grape whose settings come from a file, and what its reload did."""

    def __init__(self, path: Path, network: MemoryNetwork) -> None:
        self.path = path
        path.write_text("api_port = 0\nmax_keys = 10\n")
        source = Source(Config, ["--config", str(path)], {"GRAPE_MAX_CALLS": "5"})
        config = build(Config, source.read())
        # As the command has a limit that fits the process.
        self.grape = Grape.from_config(attrs.evolve(config, api_port=None), network.reactor("10.0.0.1"))
        self.levels: list[tuple[str, ...]] = []
        self.reload = Reloader(source, config, self.grape, lambda levels: self.levels.append(tuple(levels)))

    def write(self, text: str) -> None:
        """Writes the file, and reloads."""
        self.path.write_text(text)
        self.reload()


@pytest.fixture
def reloading(tmp_path: Path, network: MemoryNetwork) -> Reloading:
    return Reloading(tmp_path / "grape.toml", network)


def test_reload_changes_what_can_change_and_says_so(reloading: Reloading, lines: list[str]) -> None:
    reloading.write("api_port = 0\nmax_keys = 20\ndht_bootstrap = ['a:1']\nlog_level = 'debug'\n")
    config = reloading.grape.config
    assert (config.max_keys, config.dht_bootstrap, config.max_calls) == (20, (("a", 1),), 5)
    assert config.api_port is None
    assert reloading.levels == [("debug",)]
    assert lines == ["info: SIGHUP: changed dht_bootstrap from none to a:1, max_keys from 10 to 20, "
                     "log_level from info to debug"]  # fmt: skip


def test_reload_takes_settings_back_to_the_default(reloading: Reloading, lines: list[str]) -> None:
    reloading.write("api_port = 0\n")
    assert reloading.grape.config.max_keys == 10_000
    assert lines == ["info: SIGHUP: changed max_keys from 10 to 10000"]


def test_reload_names_what_takes_a_restart_each_time(reloading: Reloading, lines: list[str]) -> None:
    for _ in range(2):
        reloading.write("api_port = 7\nstate = 'x'\nmax_keys = 11\n")
        assert (reloading.grape.config.max_keys, reloading.grape.config.state) == (11, None)
    said = "warn: SIGHUP: takes a restart: api_port from 0 to 7, state from grape-PORT.sqlite to x"
    assert lines == ["info: SIGHUP: changed max_keys from 10 to 11", said, said]


def test_reload_without_a_change_says_so(reloading: Reloading, lines: list[str]) -> None:
    reloading.reload()
    assert lines == ["info: SIGHUP: no setting has changed; goes on"]
    assert reloading.levels == []


def test_reload_of_a_bad_file_changes_nothing_and_says_every_error(
    reloading: Reloading, lines: list[str], logged_failures: list[LogEvent]
) -> None:
    before = reloading.grape.config
    reloading.write("max_keys = 20\ndht_port = 'x'\nfoo = 1\n")
    assert reloading.grape.config is before
    path = reloading.path
    assert lines == [
        f"error: {path}:2: dht_port takes a whole number from 0 to 65535, not 'x'",
        f"error: {path}:3: foo is no setting (grape config example lists them)",
        "error: SIGHUP: wrong settings; nothing is changed",
    ]
    lines.clear()
    path.unlink()
    reloading.reload()
    assert lines[0] == f"error: --config {path}: No such file or directory"
    assert reloading.grape.config is before
    logged_failures.clear()


def test_reload_calls_its_hooks_before_and_after_whatever_happens(
    reloading: Reloading, logged_failures: list[LogEvent]
) -> None:
    order: list[object] = []

    def fail() -> None:
        order.append("fails")
        raise ValueError

    reloading.reload.before += [fail, lambda: order.append(reloading.grape.config.max_keys)]
    reloading.reload.after.append(lambda: order.append(reloading.grape.config.max_keys))
    reloading.write("api_port = 0\nmax_keys = 20\n")
    reloading.write("nonsense")
    assert order == ["fails", 10, 20, "fails", 20, 20]
    logged_failures.clear()


def test_reload_that_fails_goes_on_with_the_old_settings(
    reloading: Reloading, logged_failures: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: Config) -> list[str]:
        raise RuntimeError

    monkeypatch.setattr(reloading.grape, "reconfigure", fail)
    reloading.write("api_port = 0\nmax_keys = 20\n")
    assert "could not be read again" in formatEvent(logged_failures[0])
    logged_failures.clear()


def test_reload_fits_the_connections_to_the_process(tmp_path: Path, network: MemoryNetwork, lines: list[str]) -> None:
    path = tmp_path / "grape.toml"
    path.write_text("max_connections = 100\n")
    source = Source(Config, ["--config", str(path)], {})
    config = build(Config, source.read())
    grape = Grape.from_config(attrs.evolve(config, api_port=None), network.reactor("10.0.0.1"))
    fitted: list[int] = []

    def fit(config: Config) -> Config:
        fitted.append(config.max_connections)
        return attrs.evolve(config, max_connections=50)

    reload = Reloader(source, config, grape, lambda levels: None, fit)
    path.write_text("max_connections = 200\n")
    reload()
    path.write_text("max_connections = 200\nmax_calls = 1\n")
    reload()
    assert fitted == [200]
    assert (grape.config.max_connections, grape.config.max_calls) == (50, 1)


def test_long_lists_are_shown_in_part(reloading: Reloading, lines: list[str]) -> None:
    hosts = [f"host{n}.example" for n in range(100)]
    reloading.write(f"api_port = 0\nmax_keys = 10\nallow_host = {hosts}\n")
    assert lines[0].endswith("...")
    assert len(lines[0]) < 300
    assert reloading.grape.config.allow_host == tuple(hosts)
