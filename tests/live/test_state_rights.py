"""State files that the system does not let us write. Root may write everything: it runs these tests as another user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from grape.state.sqlite import StateFile
from tests.live.processes import COMMANDS, END_SECONDS

NOBODY = 65_534
GRAPE = COMMANDS["python -m grape"]


class User:
    """Runs commands as a user who may read in ``folder`` but not write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._options: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._options = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        """Runs a command; returns its status, stdout and stderr."""
        ran = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
            **self._options,
        )
        return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture
def user() -> Iterator[User]:
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory(prefix="grape-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        user = User(folder)
        try:
            status, _, err = user.run([sys.executable, "-c", "import grape.tap, klein"])
        except PermissionError as error:
            status, err = 1, str(error)
        if status:
            pytest.skip(f"another user cannot read the checkout or its Python: {err.strip()[-200:]}")
        yield user
        folder.chmod(0o755)


def refused(user: User, state: str) -> str:
    """Returns the stderr of a process that must end with status 74 because of this state file."""
    status, out, err = user.run([*GRAPE, "--dp", "0", "--aph", "0", "-b", "127.0.0.1", "--state", state])
    assert (status, out) == (74, "")
    return err


def test_unwritable_folder_ends_the_process(user: User) -> None:
    user.folder.chmod(0o555)
    state = str(user.folder / "a.sqlite")
    assert refused(user, state) == f"grape: --state {state}: Permission denied\n"
    assert not list(user.folder.iterdir())


def test_lock_of_another_user_is_named(user: User) -> None:
    user.folder.chmod(0o777)
    state = str(user.folder / "a.sqlite")
    lock = Path(f"{state}.lock")
    lock.touch()
    lock.chmod(0)
    assert refused(user, state) == f"grape: --state {state}: {lock}: Permission denied\n"


def test_file_of_another_user_ends_the_process(user: User) -> None:
    user.folder.chmod(0o777)
    state = str(user.folder / "a.sqlite")
    StateFile(state).close()
    Path(state).chmod(0o444 if os.geteuid() == 0 else 0o000)
    Path(f"{state}.lock").chmod(0o666)
    before = Path(state).stat()
    assert refused(user, state) == f"grape: --state {state}: Permission denied\n"
    assert (Path(state).stat().st_ino, Path(state).stat().st_mode) == (before.st_ino, before.st_mode)


def test_file_in_an_unwritable_folder_is_checked_and_dumped(user: User) -> None:
    state = str(user.folder / "a.sqlite")
    StateFile(state).close()
    Path(state).chmod(0o444)
    user.folder.chmod(0o555)
    status, out, err = user.run([*GRAPE, "state", "check", state])
    assert (status, out.splitlines()[0], err) == (0, f"{state}: intact, schema 1", "")
    status, out, err = user.run([*GRAPE, "state", "dump", state])
    assert (status, out.count("\n"), err) == (0, 1, "")
