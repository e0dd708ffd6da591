"""README.md says what holds: its figures are those of the documents that have them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROBUSTNESS = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"\b\d+ ms\b|\b\d+,\d{3}\b")


def test_figures_of_the_table_are_those_of_the_run() -> None:
    rows = [line.split(" | ")[1] for line in README.splitlines() if line.startswith("| ") and " | " in line]
    figures = {figure for row in rows for figure in FIGURE.findall(row)}
    assert len(figures) >= 4
    assert [figure for figure in figures if figure not in ROBUSTNESS] == []


def test_two_commands_come_first() -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^make (\w+)", blocks[0], re.MULTILINE) == ["run", "test"]
