"""Brings the pages of the site together: ``python -m docs._ext.source FOLDER`` fills a folder that Sphinx builds from.

Written pages are copied as they are, with their links between the root of the repository and docs/ turned; README.md is
the first page. Pages of settings, commands, metrics, the HTTP API and Python modules are made of the program itself.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from docs._ext import commands, declared, http, python

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
# Pages of the repository's root, and what they are called in the site.
OF_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# Where other files of the repository stand that pages link, to be downloaded.
FILES = "files"
# The menu, by readers. A page that is missing here fails the build.
MENU: Mapping[str, Sequence[str]] = {
    "Operators": ("operations", "configuration", "doctor", "state", "robustness", "performance"),
    "Service authors": ("services", "http-api", "commands"),
    "Embedders": ("embedding", "reference/python"),
    "Reference": ("reference/settings", "reference/commands", "reference/http", "reference/metrics"),
    "Developers": ("architecture", "wire", "decisions", "contributing", "changelog"),
}
COPIED = ("*.md", "decisions/*.md", "*.svg", "images/*.svg", "images/*.png")
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]*)((?:#[^)\s]*)?\))")


def gather(folder: Path) -> None:
    """Fills a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in COPIED:
        for path in DOCS.glob(pattern):
            _copy(path, folder / path.relative_to(DOCS), folder)
    for name, page in OF_ROOT.items():
        _copy(ROOT / name, folder / page, folder)
    _write(folder / "decisions.md", _decisions(folder))
    _write(folder / "reference" / "settings.md", declared.settings())
    _write(folder / "reference" / "metrics.md", declared.metrics())
    _write(folder / "reference" / "commands.md", commands.page())
    described = http.described()
    _write(folder / "reference" / "openapi.json", json.dumps(described, indent=2) + "\n")
    _write(folder / "reference" / "http.md", http.page(described, "openapi.json"))
    for name, text in python.pages().items():
        _write(folder / "reference" / name, text)
    with (folder / "index.md").open("a", encoding="utf-8") as index:
        index.write("".join(_toctree(caption, pages) for caption, pages in MENU.items()))


def turned(text: str, page: Path) -> str:
    """Returns a page's text with the links that it has in the site; ``page`` is its path in the repository."""

    def turn(found: re.Match[str]) -> str:
        begin, target, end = found.groups()
        wanted = (page.parent / target).resolve()
        if not target or not wanted.is_relative_to(ROOT):
            return found[0]
        name = wanted.relative_to(ROOT).as_posix()
        if name in OF_ROOT:
            return f"{begin}{_up(page)}{OF_ROOT[name]}{end}"
        if _is_outside(wanted):
            return f"{begin}{_up(page)}{FILES}/{name}{end}"
        # From the root, whose pages move into the folder of the others.
        return f"{begin}{target.removeprefix('docs/')}{end}" if page.parent == ROOT else found[0]

    return LINK.sub(turn, text)


def _up(page: Path) -> str:
    """Returns the way from a page to the folder of all pages."""
    return "../" if page.parent not in (ROOT, DOCS) else ""


def _is_outside(path: Path) -> bool:
    """True for a file of the repository that is no page: it can be downloaded from the site."""
    return path.is_relative_to(ROOT) and not path.is_relative_to(DOCS) and path.is_file()


def _copy(path: Path, to: Path, folder: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".md":
        shutil.copyfile(path, to)
        return
    text = path.read_text(encoding="utf-8")
    _write(to, turned(text, path))
    for found in LINK.finditer(text):
        wanted = (path.parent / found[2]).resolve()
        if found[2] and _is_outside(wanted) and wanted.name not in OF_ROOT:
            _copy(wanted, folder / FILES / wanted.relative_to(ROOT), folder)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _decisions(folder: Path) -> str:
    """Returns the page that lists all decisions."""
    pages = sorted(path.stem for path in (folder / "decisions").glob("*.md"))
    entries = "\n".join(f"decisions/{page}" for page in pages)
    about = "What the next developer would ask about: why it is as it is, and what was not taken."
    return f"# Decisions\n\n{about}\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"


def _toctree(caption: str, pages: Sequence[str]) -> str:
    entries = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n:maxdepth: 2\n\n{entries}\n```\n"


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
