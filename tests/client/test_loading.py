"""The modules that importing a client loads, by a Python of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

import grape
import grape.client

SECONDS = 20.0


def loaded(program: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("module", ["blocking", "aio"])
def test_client_without_twisted_loads_none_and_no_http_client_before_the_first_link(module: str) -> None:
    names = loaded(f"import grape.client.{module}")
    assert not names & {"twisted", "klein", "treq", "httpx", "cryptography", "zope.interface", "grape.config"}
    names = loaded(f"from grape.client.{module} import Link\nLink('http://127.0.0.1:1')")
    assert "httpx" in names
    assert not names & {"twisted", "klein", "treq", "cryptography"}


def test_client_loads_twisted_at_the_first_use_of_its_link() -> None:
    assert "twisted" not in loaded("import grape.client")
    assert {"twisted", "treq"} <= loaded("from grape.client import Link")


def test_package_has_its_names_though_they_are_loaded_late() -> None:
    assert not loaded("import grape") & {"twisted", "grape.config"}
    assert "grape.config" in loaded("from grape import Config, Grape, GrapeError, ConfigError")
    for package in (grape, grape.client):
        assert all(hasattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = package.nothing


@pytest.mark.parametrize("module", ["blocking", "aio"])
def test_missing_httpx_is_said_with_what_brings_it(module: str) -> None:
    program = f"import sys\nsys.modules['httpx'] = None\nfrom grape.client.{module} import Link\nLink('http://a')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.stderr.splitlines()[-1].endswith("pip install 'grape-dht[client]'")
