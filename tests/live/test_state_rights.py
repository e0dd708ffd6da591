"""State files and threads that the system refuses. Root is refused nothing: it runs these tests as another user."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grape.state.sqlite import StateFile
from tests.live.processes import COMMANDS, END_SECONDS, Api, new_api, until

NOBODY = 65_534
GRAPE = COMMANDS["python -m grape"]


class User:
    """Runs commands as a user who may read in ``folder`` but not write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._options: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._options = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}

    def run(self, command: Sequence[str], **options: Any) -> tuple[int, str, str]:
        """Runs a command; returns its status, stdout and stderr. ``options`` are those of Popen."""
        ran = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
            **self._options,
            **options,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command, its log on a pipe."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **self._options,
            **options,
        )


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


def log_of(user: User, api: Api, *before: str) -> str:
    """Returns the log of a grape that chooses its file itself. It must answer, and end well."""
    ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", "127.0.0.1", "--log-format", "text"]
    with user.start([*before, *GRAPE, *ports]) as process:
        try:
            until("an answer", lambda: process.poll() is not None or api.answers())
        finally:
            process.terminate()
        _, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, "Traceback" in err) == (0, False)
    return str(err)


def test_default_file_in_an_unwritable_folder_is_a_warning(user: User) -> None:
    user.folder.chmod(0o555)
    api = new_api()
    assert (
        f" [warn] state file {user.folder}/grape-{api.dht_port}.sqlite cannot be written (Permission denied): state is "
        "kept in memory only and lost at the end; --state FILE names another file, --state :memory: keeps none\n"
    ) in log_of(user, api)


def test_default_file_of_another_user_is_a_warning(user: User) -> None:
    user.folder.chmod(0o777)
    api = new_api()
    path = user.folder / f"grape-{api.dht_port}.sqlite"
    StateFile(str(path)).close()
    for file in (path, Path(f"{path}.lock")):
        file.chmod(0o444 if os.geteuid() == 0 else 0o000)
    said = f"state file {path} cannot be written ({path}.lock: Permission denied): state is kept in memory only"
    assert said in log_of(user, api)


def test_removed_working_directory_is_a_warning_or_one_line(user: User) -> None:
    user.folder.chmod(0o777)
    # The shell is in the folder when it removes it.
    removed = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh"]
    asked = [*removed, *GRAPE, "--dp", "0", "--aph", "0", "-b", "127.0.0.1", "--state", "a.sqlite"]
    assert user.run(asked) == (74, "", "grape: --state a.sqlite: the working directory was removed\n")
    said = "cannot be written (the working directory was removed): state is kept in memory only"
    assert said in log_of(user, new_api(), *removed)


@pytest.mark.parametrize("folder", [".", "none"])
def test_file_in_state_directory_was_asked_for(user: User, folder: str) -> None:
    user.folder.chmod(0o555)
    place = user.folder / folder
    command = [*GRAPE, "--dp", "20001", "--aph", "0", "-b", "127.0.0.1"]
    status, _, err = user.run(command, env={**os.environ, "STATE_DIRECTORY": str(place)})
    problem = "Permission denied" if folder == "." else "No such file or directory"
    assert (status, err) == (74, f"grape: --state {place}/grape-20001.sqlite: {problem}\n")


def test_missing_thread_ends_the_process(user: User) -> None:
    user.folder.chmod(0o777)
    state = str(user.folder / "a.sqlite")
    limit = partial(resource.setrlimit, resource.RLIMIT_NPROC, (1, 1))
    status, out, err = user.run(
        [*GRAPE, "--dp", "0", "--aph", "0", "-b", "127.0.0.1", "--state", state], preexec_fn=limit
    )
    problem = "can't start new thread to write it; raise the limit of processes (ulimit -u, TasksMax=)"
    assert (status, out, err) == (74, "", f"grape: --state {state}: {problem}\n")


def test_file_in_an_unwritable_folder_is_checked_and_dumped(user: User) -> None:
    state = str(user.folder / "a.sqlite")
    StateFile(state).close()
    Path(state).chmod(0o444)
    user.folder.chmod(0o555)
    status, out, err = user.run([*GRAPE, "state", "check", state])
    assert (status, out.splitlines()[0], err) == (0, f"{state}: intact, schema 1", "")
    status, out, err = user.run([*GRAPE, "state", "dump", state])
    assert (status, out.count("\n"), err) == (0, 1, "")
