"""grape.web.site_modules: small steps that load all that the site needs, and leave the modules as an import does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grape.web.site_modules import SITE_MODULES, SteppedImport
from tests.web.stepped_import import STEPPED, USUAL, run

# A step loads one of our modules, and may find another one not loaded yet.
MODULES_PER_STEP = 2


@pytest.fixture(scope="module")
def stepped() -> Any:
    return run(STEPPED)


def test_site_is_loaded_by_its_steps_none_of_which_loads_many_of_our_modules(stepped: Any) -> None:
    steps, loaded_after, _ = stepped
    assert [name for name in loaded_after if name.startswith("grape.")] == []
    ours = [[name for name in loaded if name.startswith("grape.")] for loaded, _ in steps]
    assert max(map(len, ours)) <= MODULES_PER_STEP
    assert {name for name in SITE_MODULES if name.startswith("grape.")} <= {name for names in ours for name in names}


def test_packages_have_at_least_the_members_that_an_import_gives_them(stepped: Any) -> None:
    *_, members = stepped
    for package, usual in run(USUAL).items():
        assert set(usual) <= set(members[package]), package


FILES = {
    "stepped/__init__.py": "from stepped.inner import VALUE\nfrom . import last\nRUN = __name__",
    "stepped/first.py": "",
    "stepped/inner/__init__.py": "from stepped.inner.leaf import VALUE",
    "stepped/inner/leaf.py": "import stepped.first\nVALUE = 7",
    "stepped/last.py": "from stepped.first import __name__ as FIRST",
    "broken/__init__.py": "raise RuntimeError('broken')",
    "broken/leaf.py": "",
}
NAMES = ["stepped.first", "stepped.inner.leaf", "stepped.inner", "no.such", "stepped.no", "stepped.last", "stepped"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The packages of FILES, not imported yet."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("stepped", "broken")]:
        del sys.modules[name]


def loaded() -> set[str]:
    """Returns the names of the modules of ``stepped`` that are loaded."""
    return {name for name in sys.modules if name.split(".")[0] == "stepped"}


def check_whole() -> None:
    """Asserts that ``stepped`` is as an import makes it."""
    package: Any = __import__("stepped.inner.leaf")
    assert package is sys.modules["stepped"]
    assert (package.RUN, package.VALUE, package.inner.leaf.VALUE, package.last.FIRST) == (
        "stepped", 7, 7, "stepped.first",
    )  # fmt: skip
    for name in ("first", "inner", "last"):
        assert getattr(package, name) is sys.modules[f"stepped.{name}"]


@pytest.mark.usefixtures("packages")
def test_step_imports_one_module_and_shows_no_package_before_its_turn() -> None:
    imports, seen = SteppedImport(NAMES), []
    while imports.step():
        seen.append(loaded())
    assert [len(now) for now in seen] == [1, 2, 3, 4, 5]
    assert ["stepped" in now for now in seen] == [False, False, False, False, True]
    check_whole()
    imports.finish()
    check_whole()
    assert not SteppedImport(NAMES).step()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("steps", range(6))
def test_finish_completes_packages_that_are_half_loaded(steps: int) -> None:
    imports = SteppedImport(NAMES)
    for _ in range(steps):
        imports.step()
    imports.finish()
    assert ("stepped" in sys.modules) == (steps > 0)
    check_whole()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("goes_on", [False, True])
def test_package_that_the_program_imports_between_two_steps_is_whole(steps: int, goes_on: bool) -> None:
    imports = SteppedImport(NAMES)
    for _ in range(steps):
        imports.step()
    __import__("stepped")
    while goes_on and imports.step():
        pass
    imports.finish()
    check_whole()


@pytest.mark.usefixtures("packages")
def test_two_imports_at_a_time_leave_the_package_whole() -> None:
    first, second = SteppedImport(NAMES), SteppedImport(NAMES)
    while [imports.step() for imports in (first, second)] != [False, False]:
        pass
    first.finish()
    second.finish()
    check_whole()


@pytest.mark.usefixtures("packages")
def test_package_that_fails_leaves_nothing_behind() -> None:
    imports = SteppedImport(["broken.leaf", "broken"])
    imports.step()
    with pytest.raises(RuntimeError, match="broken"):
        imports.step()
    assert "broken" not in sys.modules
    imports.finish()
