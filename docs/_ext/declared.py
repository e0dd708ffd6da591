"""Makes the pages of settings and of metrics from their declarations in the program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from docs._ext.markdown import code, sentence, table
from grape.config import Config
from grape.metrics import help_texts
from grape.settings.declaration import Setting, settings_of
from grape.settings.kinds import Choice, Milliseconds, Switch, Whole

# Where each metric is declared with its kind and labels; without that module the counters alone are listed.
FAMILIES = "grape.node.families"


class Family(Protocol):
    """A metric, as ``FAMILIES`` declares it."""

    name: str
    kind: str
    help: str
    labels: Sequence[str]


def settings() -> str:
    """Returns the page of all settings as Markdown: a section for each, with its names in all places."""
    return "".join(_settings())


def _settings() -> Iterator[str]:
    yield "# All settings\n\n"
    yield "Made of the declaration in `grape.config`; [configuration](../configuration.md) says which place counts.\n\n"
    every = settings_of(Config)
    yield table(
        ("setting", "default", "what it is"),
        ((f"[{code(setting.name)}](#{setting.name})", setting.default_text, setting.help) for setting in every),
    )
    for setting in every:
        yield f"## {setting.name}\n\n{sentence(setting.help)}\n\n"
        flags = [f"{flag} {setting.kind.placeholder}".rstrip() for flag in setting.spellings]
        if setting.off:
            flags.append(f"--{setting.off}")
        keywords = [] if setting.for_process else setting.keywords
        yield table(
            ("", ""),
            (
                ("flag", ", ".join(map(code, flags))),
                ("variable", code(setting.variable)),
                ("key of the file", code(setting.name)),
                ("keyword of `Grape`", ", ".join(map(code, keywords)) or "none: of the process alone"),
                ("takes", _takes(setting)),
                ("default", setting.default_text),
                ("reload", "changes while the grape runs" if setting.reloads else "takes a restart"),
            ),
        )


def _takes(setting: Setting) -> str:
    kind = setting.kind
    if isinstance(kind, Whole):
        return f"a whole number, {kind.low:,} to {kind.high:,}"
    if isinstance(kind, Milliseconds):
        return f"milliseconds, {kind.low:,} to {kind.high:,}"
    if isinstance(kind, Choice):
        return " or ".join(map(code, kind.placeholder.split("|")))
    if isinstance(kind, Switch):
        return "nothing as a flag; `true` or `false` elsewhere"
    many = ", several with commas; as a key an array, too" if kind.is_list else ""
    return (code(kind.placeholder.removesuffix(",...")) or "text") + many


def metrics() -> str:
    """Returns the page of all metrics as Markdown."""
    return "".join(_metrics())


def _metrics() -> Iterator[str]:
    yield "# All metrics\n\n"
    if find_spec(FAMILIES) is not None:
        families = cast("Sequence[Family]", import_module(FAMILIES).FAMILIES)
        yield "Made of their declarations; `GET /metrics` answers with them.\n\n"
        rows = ((code(each.name), each.kind, ", ".join(map(code, each.labels)), each.help) for each in families)
        yield table(("metric", "kind", "labels", "meaning"), rows)
        return
    yield "Made of their declarations. `Grape.stats().counters` has them, and USR2 writes them to the log.\n\n"
    yield table(("counter", "counts"), ((code(name), text) for name, text in help_texts().items()))
