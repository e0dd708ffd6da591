"""The pages that ``make docs`` builds the site from: all are there, with all that the program declares."""

from __future__ import annotations

import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs._ext import markdown
from docs._ext.declared import FAMILIES
from docs._ext.python import PAGES
from docs._ext.source import COPIED, DOCS, MENU, OF_ROOT, ROOT, gather, turned
from grape.cli.run import COMMANDS, PEOPLE
from grape.config import Config
from grape.metrics import help_texts
from grape.resource import routes
from grape.settings.declaration import settings_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all pages."""
    folder = tmp_path_factory.mktemp("site")
    gather(folder)
    return folder


def test_menu_has_every_page_once(site: Path) -> None:
    pages = [page for group in MENU.values() for page in group]
    found = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.md")}
    # Listed by pages of their own.
    below = {page for page in found if page.startswith(("decisions/", "reference/python-"))}
    assert sorted(pages) == sorted(found - below - {"index"})


def test_all_written_pages_and_drawings_are_copied(site: Path) -> None:
    names = {path.relative_to(DOCS) for pattern in COPIED for path in DOCS.glob(pattern)}
    written = {path.relative_to(DOCS) for end in ("md", "svg", "png") for path in DOCS.rglob(f"*.{end}")}
    assert written == names
    assert all((site / name).is_file() for name in names)


def test_links_of_pages_lead_to_files_of_the_site(site: Path) -> None:
    lost = [
        f"{page.relative_to(site)}: {target}"
        for page in site.rglob("*.md")
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).is_file()
    ]
    assert lost == []


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("README.md", "docs/state.md#the-file", "state.md#the-file"),
        ("README.md", "CONTRIBUTING.md", "contributing.md"),
        ("README.md", "#install", "#install"),
        ("docs/operations.md", "../README.md#flags", "index.md#flags"),
        ("docs/operations.md", "state.md", "state.md"),
        ("docs/decisions/0001-packages.md", "../../README.md", "../index.md"),
        ("docs/decisions/0001-packages.md", "../state.md", "../state.md"),
        ("docs/operations.md", "../contrib/systemd/grape.toml", "files/contrib/systemd/grape.toml"),
        ("README.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
    ],
)
def test_link_between_the_root_and_the_documents_is_turned(page: str, link: str, expected: str) -> None:
    assert turned(f"[a]({link})", ROOT / page) == f"[a]({expected})"
    assert OF_ROOT["README.md"] == "index.md"


def test_reference_has_every_setting_with_its_names(site: Path) -> None:
    text = (site / "reference" / "settings.md").read_text(encoding="utf-8")
    for setting in settings_of(Config):
        section = text.partition(f"\n## {setting.name}\n")[2].partition("\n## ")[0]
        names = [*setting.spellings, setting.variable, *setting.keywords]
        assert [name for name in names if name not in section] == [], setting.name


def test_reference_has_every_command_with_its_help(site: Path) -> None:
    text = (site / "reference" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in (*PEOPLE, *COMMANDS) if f"\n## grape {name}\n" not in text] == []
    assert "| `--trace` | Show how the lookup went" in text
    assert import_module(COMMANDS["state"].module).HELP.strip() in text


def test_reference_has_every_call_and_type_and_the_document(site: Path) -> None:
    text = (site / "reference" / "http.md").read_text(encoding="utf-8")
    described = json.loads((site / "reference" / "openapi.json").read_text(encoding="utf-8"))
    methods = {route.path: "GET" if route.methods == ("GET",) else "POST" for route in routes()}
    assert [path for path in described["paths"] if f"\n## {methods[path]} {path}\n" not in text] == []
    assert [name for name in described["components"]["schemas"] if f"\n### {name}\n" not in text] == []


def test_reference_has_every_metric(site: Path) -> None:
    text = (site / "reference" / "metrics.md").read_text(encoding="utf-8")
    is_there = find_spec(FAMILIES) is not None
    names = [each.name for each in import_module(FAMILIES).FAMILIES] if is_there else list(help_texts())
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_documented_objects_of_modules_exist_and_have_docstrings() -> None:
    for page in PAGES.values():
        for section in page.sections:
            for name in section.names:
                documented = getattr(import_module(section.module), name.removesuffix("()"))
                assert documented.__doc__, f"{section.module}.{name}"


@pytest.mark.parametrize("name", ["grape", "grape.client", "grape.testing"])
def test_reference_has_every_public_name_of_a_package(name: str) -> None:
    documented = {
        getattr(import_module(section.module), each.removesuffix("()"))
        for page in PAGES.values()
        for section in page.sections
        for each in section.names
    }
    package = import_module(name)
    assert [each for each in package.__all__ if each[0] != "_" and getattr(package, each) not in documented] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b", "`a|b`"), ("", ""), ("a`b", "``a`b``"), ("`a", "`` `a ``")],
)
def test_code_keeps_backticks(text: str, expected: str) -> None:
    assert markdown.code(text) == expected


def test_table_keeps_its_cells_apart() -> None:
    assert markdown.table(("a", "b"), [("1|2", "x\ny")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | x y |\n\n"
    assert markdown.table(("a",), []) == ""


@pytest.mark.parametrize(("text", "expected"), [("ends", "Ends."), ("Ends.", "Ends."), ("so: ", "So:")])
def test_sentence_begins_with_a_capital_and_ends(text: str, expected: str) -> None:
    assert markdown.sentence(text) == expected
