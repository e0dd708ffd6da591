"""The examples of docs/commands.md print what stands there; its tables name what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from grape.cli.people import STATUSES
from grape.cli.run import COMMANDS, PEOPLE
from tests.cli.conftest import SECONDS, OneGrape, environment

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
EXAMPLES = re.findall(r"^```console\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def steps(example: str) -> list[tuple[str, str]]:
    """Returns each command of an example with what it has to print."""
    parts = re.split(r"^\$ (.*)\n", example, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.skipif(which("bash") is None or which("openssl") is None, reason="bash or openssl is not installed")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[0])
def test_example_prints_what_stands_there(fake: OneGrape, tmp_path: Path, example: str) -> None:
    # One shell for all steps, as they share its variables; a mark stands between what each prints.
    program = "".join(f"{command}\necho '==='\n" for command, _ in steps(example))
    prologue = f'grape() {{ {sys.executable} -m grape "$@"; }}\nexec 2>&1\n'
    variables = environment(GRAPE_URL=fake.url, PYTHONPATH=str(Path(__file__).resolve().parents[2]))
    ran = subprocess.run(
        ["bash", "-c", prologue + program],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS * len(steps(example)),
        check=False,
    )
    printed = [output.strip() for output in ran.stdout.split("===\n")[:-1]]
    assert printed == [output.strip() for _, output in steps(example)]


def test_tables_have_every_command_and_status() -> None:
    assert [name for name in (*PEOPLE, *COMMANDS) if f"`grape {name}" not in TEXT] == []
    assert [status for status in (*STATUSES, 69, 130) if f"\n| {status} | " not in TEXT] == []
