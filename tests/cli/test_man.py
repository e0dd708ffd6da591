"""The man pages in man/: made of what the commands declare, and without errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from grape.cli.run import COMMANDS, PEOPLE
from grape.config import Config
from grape.settings.declaration import settings_of
from tests.cli.conftest import SECONDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "man").glob("*"))


def text(page: Path) -> str:
    """Returns a page without groff's escapes."""
    return page.read_text().replace(r"\-", "-").replace(r"\fB", "").replace(r"\fI", "").replace(r"\fR", "")


def test_pages_are_what_make_man_writes(tmp_path: Path) -> None:
    (tmp_path / "grape-gone.1").write_text("")
    subprocess.run([sys.executable, ROOT / ".ci" / "man", tmp_path], timeout=SECONDS, check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in PAGES
    }


def test_pages_are_there_for_every_command() -> None:
    assert {page.name for page in PAGES} == {"grape.1", *(f"grape-{name}.1" for name in (*PEOPLE, *COMMANDS))}


def test_page_of_grape_has_every_flag_and_command() -> None:
    page = text(ROOT / "man" / "grape.1")
    for setting in settings_of(Config):
        assert setting.help in page
        assert all(spelling in page for spelling in setting.spellings)
    assert all(command.synopsis in page for command in (*PEOPLE.values(), *COMMANDS.values()))


@pytest.mark.skipif(which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_set_without_warnings_in_80_columns(page: Path) -> None:
    command = ["groff", "-man", "-Tascii", "-ww", "-rLL=80n", "-P-cbou", str(page)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert ran.stderr == ""
    # What is to be copied stays on one line.
    assert [line for line in ran.stdout.splitlines() if len(line) > 80 and " > " not in line] == []
    assert "EXIT STATUS" in ran.stdout
