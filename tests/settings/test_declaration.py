"""grape.settings.declaration: settings in the metadata of attrs fields, and declarations made of keywords."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from grape.config import Config
from grape.errors import ConfigError
from grape.settings.declaration import Setting, check, declare, from_keywords, nearest, settings_of
from grape.settings.kinds import Milliseconds, Switch, Whole


@attrs.frozen(kw_only=True)
class Sample:
    """A declaration with a setting of each kind."""

    max_size: int = declare(7, Setting(Whole(1, 100), "entries", flag="ls", also=("l",), keywords=("max_Size", "size")))
    delay: float | None = declare(None, Setting(Milliseconds(10, 10_000), "time to wait", unset="any"))
    quiet: bool = declare(False, Setting(Switch(), "logs less"))
    name: str = "no setting"

    def __attrs_post_init__(self) -> None:
        check(self)


@attrs.frozen(kw_only=True)
class WithOneMore(Config):
    """The declaration of a grape with one more setting."""

    max_retries: int = declare(7, Setting(Whole(1, 100), "repetitions of a query"))


def test_settings_of_a_class_have_the_names_and_defaults_of_its_fields() -> None:
    max_size, delay, quiet = settings_of(Sample)
    assert (max_size.name, max_size.flag, max_size.keywords) == ("max_size", "ls", ("max_Size", "size"))
    assert max_size.spellings == ("--ls", "-l", "--l")
    assert (delay.name, delay.flag, delay.keywords, delay.spellings) == (
        "delay", "delay", ("delay",), ("--delay",))  # fmt: skip
    assert [setting.default for setting in settings_of(Sample)] == [7, None, False]
    assert [setting.default_text for setting in settings_of(Sample)] == ["7", "any", "off"]
    assert (max_size.may_be_none, delay.may_be_none, quiet.may_be_none) == (False, True, False)


def test_settings_of_a_copy_have_the_one_that_was_added() -> None:
    assert settings_of(WithOneMore)[:-1] == settings_of(Config)
    assert settings_of(WithOneMore)[-1].name == "max_retries"
    assert from_keywords(WithOneMore, {"max_retries": 8, "max_keys": 9}) == WithOneMore(max_retries=8, max_keys=9)
    with pytest.raises(ConfigError, match=r"^max_retries takes a whole number from 1 to 100, not 0$"):
        WithOneMore(max_retries=0)
    with pytest.raises(TypeError, match=r"^Grape has no keyword 'max_retrie'; did you mean 'max_retries'\?$"):
        from_keywords(WithOneMore, {"max_retrie": 8})


def test_from_keywords_takes_the_users_units_and_names() -> None:
    assert from_keywords(Sample, {"size": 5, "delay": 250, "quiet": True}) == Sample(max_size=5, delay=0.25, quiet=True)
    assert from_keywords(Sample, {"delay": None}) == from_keywords(Sample, {}) == Sample()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"size": 0}, "size takes a whole number from 1 to 100, not 0"),
        ({"max_Size": None}, "max_Size takes a whole number from 1 to 100, not None"),
        ({"delay": 9.5}, "delay takes a number of milliseconds from 10 to 10000, not 9.5"),
    ],
)
def test_from_keywords_says_the_keyword_that_is_wrong(given: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_keywords(Sample, given)
    assert str(raised.value) == text
    assert raised.value.name == next(iter(given))


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("max_size", "; did you mean 'max_Size'?"),
        ("dely", "; did you mean 'delay'?"),
        ("name", " (docs/configuration.md lists them)"),
        ("zebra", " (docs/configuration.md lists them)"),
    ],
)
def test_from_keywords_refuses_an_unknown_keyword_with_the_nearest_one(keyword: str, hint: str) -> None:
    with pytest.raises(TypeError) as raised:
        from_keywords(Sample, {keyword: 1})
    assert str(raised.value) == f"Grape has no keyword {keyword!r}{hint}"


def test_a_declaration_says_its_own_field_and_unit() -> None:
    given: dict[str, Any] = {"delay": 0.001}
    with pytest.raises(ConfigError, match=r"^delay takes a number of seconds from 0\.01 to 10, not 0\.001$"):
        Sample(**given)


def test_nearest_name_ignores_dashes_underscores_and_case() -> None:
    assert nearest("--dht-port", ["--dht_port", "--api_port"]) == "--dht_port"
    assert nearest("DHT_MAXTABLES", ["dht_maxTables", "dht_maxValues"]) == "dht_maxTables"
    assert nearest("zebra", ["dht_port"]) is None
