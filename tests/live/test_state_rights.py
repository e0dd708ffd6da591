"""State files where the system does not let us write: as another user, if the tests run as root, who may everywhere."""

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
    """Somebody who may not write in the ``folder``, but read there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._options: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._options = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        """Status, output and errors of a command."""
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
    """What a grape says, which must end with status 74 for the sake of this file."""
    status, out, err = user.run([*GRAPE, "--dp", "0", "--aph", "0", "-b", "127.0.0.1", "--state", state])
    assert (status, out) == (74, "")
    return err


def test_an_unwritable_folder_ends_the_process(user: User) -> None:
    user.folder.chmod(0o555)
    state = str(user.folder / "a.sqlite")
    assert refused(user, state) == f"grape: --state {state}: Permission denied\n"
    assert not list(user.folder.iterdir())


def test_a_lock_of_another_user_is_named(user: User) -> None:
    user.folder.chmod(0o777)
    state = str(user.folder / "a.sqlite")
    lock = Path(f"{state}.lock")
    lock.touch()
    lock.chmod(0)
    assert refused(user, state) == f"grape: --state {state}: {lock}: Permission denied\n"


def test_a_file_of_another_user_ends_the_process(user: User) -> None:
    user.folder.chmod(0o777)
    state = str(user.folder / "a.sqlite")
    StateFile(state).close()
    Path(state).chmod(0o444 if os.geteuid() == 0 else 0o000)
    Path(f"{state}.lock").chmod(0o666)
    before = Path(state).stat()
    assert refused(user, state) == f"grape: --state {state}: Permission denied\n"
    assert (Path(state).stat().st_ino, Path(state).stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_file_in_an_unwritable_folder_is_looked_at_and_taken_out(user: User) -> None:
    state = str(user.folder / "a.sqlite")
    StateFile(state).close()
    Path(state).chmod(0o444)
    user.folder.chmod(0o555)
    status, out, err = user.run([*GRAPE, "state", "check", state])
    assert (status, out.splitlines()[0], err) == (0, f"{state}: schema 1, well", "")
    status, out, err = user.run([*GRAPE, "state", "dump", state])
    assert (status, out.count("\n"), err) == (0, 1, "")
