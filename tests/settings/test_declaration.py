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
class Pigeons:
    """A declaration of another thing."""

    loft_size: int = declare(
        7, Setting(Whole(1, 100), "pigeons", flag="ls", also=("l",), keywords=("loft_Size", "size"))
    )
    flight: float | None = declare(None, Setting(Milliseconds(10, 10_000), "time of flight", unset="any"))
    carrier: bool = declare(False, Setting(Switch(), "carries messages"))
    name: str = "no setting"

    def __attrs_post_init__(self) -> None:
        check(self)


@attrs.frozen(kw_only=True)
class MorePigeons(Config):
    """The declaration of a grape with one more setting."""

    max_pigeons: int = declare(7, Setting(Whole(1, 100), "pigeons in flight"))


def test_settings_of_a_class_have_the_names_and_defaults_of_its_fields() -> None:
    loft_size, flight, carrier = settings_of(Pigeons)
    assert (loft_size.name, loft_size.flag, loft_size.keywords) == ("loft_size", "ls", ("loft_Size", "size"))
    assert loft_size.spellings == ("--ls", "-l", "--l")
    assert (flight.name, flight.flag, flight.keywords, flight.spellings) == (
        "flight", "flight", ("flight",), ("--flight",))  # fmt: skip
    assert [setting.default for setting in settings_of(Pigeons)] == [7, None, False]
    assert [setting.default_text for setting in settings_of(Pigeons)] == ["7", "any", "off"]
    assert (loft_size.may_be_none, flight.may_be_none, carrier.may_be_none) == (False, True, False)


def test_settings_of_a_copy_have_the_one_that_was_added() -> None:
    assert settings_of(MorePigeons)[:-1] == settings_of(Config)
    assert settings_of(MorePigeons)[-1].name == "max_pigeons"
    assert from_keywords(MorePigeons, {"max_pigeons": 8, "max_keys": 9}) == MorePigeons(max_pigeons=8, max_keys=9)
    with pytest.raises(ConfigError, match=r"^max_pigeons takes a whole number from 1 to 100, not 0$"):
        MorePigeons(max_pigeons=0)
    with pytest.raises(TypeError, match=r"^no setting 'max_pigeon'; did you mean 'max_pigeons'\?$"):
        from_keywords(MorePigeons, {"max_pigeon": 8})


def test_from_keywords_takes_the_users_units_and_names() -> None:
    assert from_keywords(Pigeons, {"size": 5, "flight": 250, "carrier": True}) == Pigeons(
        loft_size=5, flight=0.25, carrier=True
    )
    assert from_keywords(Pigeons, {"flight": None}) == from_keywords(Pigeons, {}) == Pigeons()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"size": 0}, "size takes a whole number from 1 to 100, not 0"),
        ({"loft_Size": None}, "loft_Size takes a whole number from 1 to 100, not None"),
        ({"flight": 9.5}, "flight takes a number of milliseconds from 10 to 10000, not 9.5"),
    ],
)
def test_from_keywords_says_the_keyword_that_is_wrong(given: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_keywords(Pigeons, given)
    assert str(raised.value) == text
    assert raised.value.name == next(iter(given))


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("loft_size", "; did you mean 'loft_Size'?"),
        ("fligt", "; did you mean 'flight'?"),
        ("name", ""),
        ("zebra", ""),
    ],
)
def test_from_keywords_refuses_an_unknown_keyword_with_the_nearest_one(keyword: str, hint: str) -> None:
    with pytest.raises(TypeError) as raised:
        from_keywords(Pigeons, {keyword: 1})
    assert str(raised.value) == f"no setting {keyword!r}{hint}"


def test_a_declaration_says_its_own_field_and_unit() -> None:
    given: dict[str, Any] = {"flight": 0.001}
    with pytest.raises(ConfigError, match=r"^flight takes a number of seconds from 0\.01 to 10, not 0\.001$"):
        Pigeons(**given)


def test_nearest_name_ignores_dashes_underscores_and_case() -> None:
    assert nearest("--dht-port", ["--dht_port", "--api_port"]) == "--dht_port"
    assert nearest("DHT_MAXTABLES", ["dht_maxTables", "dht_maxValues"]) == "dht_maxTables"
    assert nearest("zebra", ["dht_port"]) is None
