"""Lists the Python objects that programs may use, by page; Sphinx's autodoc makes the pages of their docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import NamedTuple


class Section(NamedTuple):
    """Objects of one module under a heading. A class that programs do not make themselves is named with ``()``."""

    title: str
    module: str
    names: tuple[str, ...]
    about: str = ""


class Page(NamedTuple):
    """A page of the reference."""

    title: str
    about: str
    sections: tuple[Section, ...]


PAGES: Mapping[str, Page] = {
    "python-grape.md": Page(
        "grape",
        "A node in a program of yours: [embedding](../embedding.md) has whole programs.",
        (
            Section("The service", "grape", ("Grape",)),
            Section(
                "Settings", "grape", ("Config",), "Its fields are the [settings](settings.md), with times in seconds."
            ),
            Section("Errors", "grape", ("GrapeError", "ConfigError")),
            Section("When a state file cannot be used", "grape.state.lock", ("StateError",)),
            Section("A service that is kept announced", "grape.node.kept", ("KeptAnnounce()",)),
            Section("Items", "grape.node.items", ("Got",)),
            Section("Counters", "grape.metrics", ("Stats", "help_texts")),
            Section("Rules against web pages", "grape.web.access", ("Access",)),
            Section("What is needed of a reactor", "grape.reactor", ("Reactor", "Clock", "Timer")),
        ),
    ),
    "python-told.md": Page(
        "What a grape tells of itself",
        "Returned by `Grape.status()`, `trace_lookup()` and `trace_get()`.",
        (
            Section(
                "Status",
                "grape.node.status",
                ("Status", "Contacts", "PerSecond", "StateFile", "Descriptors", "Connections"),
            ),
            Section("Readiness", "grape.node.readiness", ("Readiness", "Check")),
            Section("How a lookup went", "grape.node.tracing", ("LookupTrace", "Step")),
        ),
    ),
    "python-client.md": Page(
        "grape.client",
        "Links to grapes of other processes, in three styles; [services](../services.md) has recipes.",
        (
            Section("Settings of a link", "grape.client.core", ("Settings",)),
            Section("Items and keys", "grape.client", ("Item", "new_private_key", "public_key", "mutable_hash")),
            Section(
                "Errors",
                "grape.client",
                (
                    "ClientError",
                    "UnreachableError",
                    "DeadlineError",
                    "AnswerError",
                    "SignatureError",
                    "NotSupportedError",
                ),
            ),
        ),
    ),
    "python-twisted.md": Page(
        "grape.client for Twisted",
        "`grape.client.Link`.",
        (
            Section("Link", "grape.client.twisted", ("Link",)),
            Section("A service that is kept announced", "grape.client.announcing_service", ("Announcing()",)),
            Section("What sends the requests", "grape.client.twisted_call", ("Requester", "Response")),
        ),
    ),
    "python-aio.md": Page(
        "grape.client.aio",
        "For asyncio.",
        (
            Section("Link", "grape.client.aio", ("Link",)),
            Section("A service that is kept announced", "grape.client.announcing_task", ("Announcing()",)),
        ),
    ),
    "python-blocking.md": Page(
        "grape.client.blocking",
        "For programs that wait for their answers, with or without threads.",
        (
            Section("Link", "grape.client.blocking", ("Link",)),
            Section("A service that is kept announced", "grape.client.announcing_thread", ("Announcing()",)),
        ),
    ),
    "python-testing.md": Page(
        "grape.testing",
        "Real grapes in memory with virtual time, for tests.",
        (
            Section(
                "Networks and grapes",
                "grape.testing",
                ("MemoryNetwork", "make_grapes", "make_grape", "GrapeKeywords", "host_name"),
            ),
            Section("The clock", "grape.testing.clock", ("HeapClock", "HeapCall")),
            Section("What a grape listens on", "grape.testing", ("MemoryReactor", "MemoryPort")),
            Section("A link to them", "grape.testing.link", ("make_link",)),
        ),
    ),
}


def pages() -> Mapping[str, str]:
    """Returns each page as Markdown by the name of its file, and python.md, which lists them."""
    names = "\n".join(name.removesuffix(".md") for name in PAGES)
    first = (
        "# Python\n\nWhat programs may use, from the docstrings. Other modules may change with each version.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return {"python.md": first, **{name: "".join(_page(page)) for name, page in PAGES.items()}}


def _page(page: Page) -> Iterable[str]:
    yield f"# {page.title}\n\n" + (f"{page.about}\n\n" if page.about else "")
    for section in page.sections:
        yield f"## {section.title}\n\n" + (f"{section.about}\n\n" if section.about else "")
        lines = [line for name in section.names for line in _documented(section.module, name)]
        yield "\n".join(("```{eval-rst}", ".. highlight:: python", "", *lines, "```")) + "\n\n"


def _documented(module: str, name: str) -> Iterable[str]:
    if name[0].islower():
        return (f".. autofunction:: {module}.{name}", "")
    # Its fields are settings, which have a page of their own.
    members = () if name == "Config" else ("   :members:",)
    documented = getattr(import_module(module), name.removesuffix("()"))
    bases = () if documented.__bases__ == (object,) else ("   :show-inheritance:",)
    return (f".. autoclass:: {module}.{name}", *members, *bases, "")
