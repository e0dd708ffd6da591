"""gauntlet.interpreter and benchmarks.builds: which Python and which build of the grape is measured."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from benchmarks.builds import Build, absolute, differ, found, found_compiled, line
from benchmarks.figures import COMPILED, OURS, BenchmarkError
from gauntlet.interpreter import compiled_modules, optimisation, source_hash
from gauntlet.machine import ROOT


@pytest.mark.parametrize(
    ("prefix", "arguments", "flags", "told"),
    [
        ("/opt/python", "'--enable-optimizations' '--with-lto'", "-O3 -Wall", "profile-guided, -O3, -flto"),
        ("/opt/python", "'--prefix=/opt'", "-O2 -fprofile-use", "profile-guided, -O2"),
        ("/usr", "'--prefix=/usr' 'CFLAGS=-g -O1'", "-g -O2", "built by the distribution, -O2"),
        ("/opt/python", "'--prefix=/opt'", "-O0", "NOT profile-guided, -O0"),
        ("/opt/python", "", "", "NOT profile-guided, no -O"),
    ],
)
def test_optimisation_of_a_python_is_told_by_its_build(prefix: str, arguments: str, flags: str, told: str) -> None:
    assert optimisation(prefix, arguments, flags) == told


def test_compiled_modules_are_those_that_lie_beside_their_source(tmp_path: Path) -> None:
    (tmp_path / "dht").mkdir()
    for name in ("dht/lookup", "store", "other"):
        (tmp_path / f"{name}.py").write_text("")
    assert compiled_modules(tmp_path) == 0
    for name in ("dht/lookup", "store", "group__mypyc"):
        (tmp_path / f"{name}{EXTENSION_SUFFIXES[0]}").write_text("")
    assert compiled_modules(tmp_path) == 2


def test_source_hash_tells_sources_apart_and_not_their_places(tmp_path: Path) -> None:
    for place, text in (("one", "1"), ("same", "1"), ("other", "2")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.py").write_text(text)
    one, same, other = (source_hash(tmp_path / place) for place in ("one", "same", "other"))
    assert one == same != other


def test_found_describes_this_python_and_this_checkout() -> None:
    build = found()
    assert build.python == sys.executable
    assert build.told["package"] == str(ROOT / "grape")
    assert build.side in (OURS, COMPILED)
    assert sys.version.split()[0] in line(build)


def test_python_is_named_by_path_or_as_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert absolute("bin/python3") == str(tmp_path / "bin" / "python3")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert absolute("python3") == str(tmp_path / "bin" / "python3")


def test_found_refuses_what_is_no_python_and_one_whose_grape_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchmarkError, match="cannot be measured"):
        found("/no/such/python")
    monkeypatch.setattr("benchmarks.builds.found", lambda python: Build(python, told={"build": "pure", "package": "p"}))
    with pytest.raises(BenchmarkError, match="is not compiled"):
        found_compiled("python3")


def test_builds_of_different_sources_differ() -> None:
    one, other = (Build(told={"source": source}) for source in ("a", "b"))
    assert differ({OURS: one, COMPILED: other})
    assert not differ({OURS: one, COMPILED: one})
