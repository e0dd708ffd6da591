"""docs/operations.md has each limit with its default and every exit status; links of documents lead to a section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grape.config import Config
from grape.daemon import service
from grape.settings.declaration import Setting, settings_of

DOCS = Path(__file__).parent.parent / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()
LIMITS = [setting for setting in settings_of(Config) if "max" in setting.name.split("_") and "age" not in setting.name]
STATUSES = {value for name, value in vars(service).items() if name.startswith("EXIT_")}
MIB = 2**20


def section(title: str) -> str:
    """Returns the text of a section, those below it included."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def anchors(text: str) -> set[str]:
    """Returns what links may name after a "#" in a document."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("setting", LIMITS, ids=lambda setting: setting.name)
def test_limit_is_in_the_table_with_its_default(setting: Setting) -> None:
    flag = f"--{setting.flag}"
    rows = [line for line in section("Limits").splitlines() if line.startswith(f"| `{flag}` |")]
    (row,) = rows
    default = getattr(Config(), setting.name)
    assert (f"{default:,}" if default < MIB else f"{default // MIB} MiB") in row.split("|")[2]
    assert setting.reloads


def test_all_exit_statuses_are_in_the_table() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", section("Exit statuses"), re.MULTILINE)}
    # 64 is twist's, 1 is twistd's.
    assert listed == {0, 1, 64, *STATUSES}


@pytest.mark.parametrize("path", sorted([*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]), ids=lambda path: path.name)
def test_links_between_documents_lead_to_a_section(path: Path) -> None:
    text = path.read_text()
    lost = []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        other = (path.parent / target).resolve() if target else path
        if not other.exists() or (anchor and anchor not in anchors(other.read_text())):
            lost.append(f"{target}#{anchor}")
    assert lost == []
