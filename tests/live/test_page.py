"""The live page in a headless Chromium, with real grapes; pictures go to the folder that SCREENSHOTS names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from gauntlet.client import Client
from gauntlet.machine import until
from gauntlet.page.browser import Browser, reason_without_browser
from gauntlet.page.network import CONTACTS, SERVICES, Event, LargeNetwork
from gauntlet.page.server import PageServer
from grape.web.live_page import DIRECTORY
from tests.live.conftest import Start, StartGrape, StartRing, unavailable
from tests.live.processes import HOST, GrapeProcess, free_port

APPEAR_SECONDS = 2.0
# The rest of its life, the second of the next snapshot, and time for a busy machine.
EXPIRY_MILLISECONDS = 4_000
LEAVE_SECONDS = 4.0 + 1.0 + 5.0
# Ten minutes of snapshots, one each 20 ms.
TEN_MINUTES = 600
FAST = 0.02
DONE_SECONDS = 90.0
# Of elements, attributes and texts, for each snapshot: 100 contacts have changed, and 8 services.
MOST_CHANGES = 300
HEAP_BYTES = 50 * 1024 * 1024
HOSTILE = "<img src=x onerror=alert(1)>"
SERVICE_ROWS = "document.querySelector('#services-rows').innerText"
UNITS = "page_units.mjs"

Shot = Callable[[str], None]
Serve = Callable[[Callable[[], Iterable[list[Event]]], float], PageServer]


@pytest.fixture(scope="module")
def chromium(node: Path) -> Iterator[Browser]:
    reason = reason_without_browser()
    if reason:
        unavailable(reason)
    with Browser() as browser:
        yield browser


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the page with events that the test makes: the arguments of PageServer."""
    servers: list[PageServer] = []

    def begin(events: Callable[[], Iterable[list[Event]]], pause: float) -> PageServer:
        servers.append(PageServer(events, pause))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.fixture
def browser(chromium: Browser, start: Start, serve: Serve) -> Iterator[Browser]:
    """A browser, which must not have found fault with any page of the test, nor have asked another host.

    It is asked before what served the page ends: a page whose grape is gone notes that its requests fail.
    """
    yield chromium
    assert chromium.do("faults") == []
    assert len(chromium.do("hosts")) == 1


@pytest.fixture
def shot(browser: Browser) -> Shot:
    """Writes a picture of the page under a name, if somebody wants to look at it."""

    def write(name: str) -> None:
        directory = os.environ.get("SCREENSHOTS")
        if directory:
            browser.shot(Path(directory, f"{name}.png"))

    return write


def announce(grape: GrapeProcess, number: int) -> None:
    for at in range(number):
        assert grape.call("announce", [f"rest:util:service-{at:02}", 1_000 + at])


def test_files_of_the_page_are_scripts_whose_pure_functions_work(node: Path, tmp_path: Path) -> None:
    for script in DIRECTORY.glob("*.js"):
        shutil.copy(script, tmp_path)
    shutil.copy(node / UNITS, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for script in sorted(tmp_path.glob("*.js")):
        checked = subprocess.run(["node", "--check", script], capture_output=True, text=True, timeout=30, check=False)
        assert checked.returncode == 0, checked.stderr
    ran = subprocess.run(
        ["node", "--test", UNITS], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ring_is_shown_and_accessible(scheme: str, browser: Browser, shot: Shot, grape_ring: StartRing) -> None:
    first, second, *_ = grape_ring(4)
    announce(second, 30)
    browser.open(f"{first.api.url}/", scheme=scheme)
    browser.until_text("#state", "Well")
    browser.until_text("#contacts-count", "3 contacts, none questionable")
    browser.until_text("#services-pager", "1 to 15 of 30 services")
    assert browser.value("document.querySelectorAll('#contacts-plot path.good').length") == 3
    assert first.api.node in browser.text("#facts")
    browser.value("document.querySelector('#contacts-details').open = true")
    browser.value("document.querySelector('#lookup-name').focus()")
    browser.do("type", text="rest:util:service-07")
    browser.press("Enter")
    browser.until_text("#lookup-outcome", "1 peer found. 3 nodes asked")
    assert browser.value("document.querySelectorAll('#lookup-trace rect.bar').length") == 3
    browser.until("document.querySelectorAll('#charts path.line')[0].getAttribute('d').includes('L')")
    browser.until_text("#charts-span", "since the page was opened 1 lookup took")
    shot(scheme)
    assert browser.do("axe") == []


def test_page_fits_a_phone(browser: Browser, shot: Shot, grape_ring: StartRing) -> None:
    first, second = grape_ring(2)
    announce(second, 25)
    browser.open(f"{first.api.url}/", width=360, height=740)
    browser.until_text("#services-pager", "25 services")
    assert browser.value("document.documentElement.scrollWidth") <= 360
    shot("phone")
    assert browser.do("axe") == []


def test_service_appears_and_leaves_as_it_expires(browser: Browser, grape_process: StartGrape) -> None:
    grape = grape_process("--dht_peer_maxAge", str(EXPIRY_MILLISECONDS))
    browser.open(f"{grape.api.url}/")
    browser.until_text("#services-empty", "No service is stored here")
    grape.call("announce", ["rest:util:net", 1337])
    browser.until(f"{SERVICE_ROWS}.includes('rest:util:net')", APPEAR_SECONDS)
    browser.until(f"!{SERVICE_ROWS}.includes('rest:util:net')", LEAVE_SECONDS)


def test_service_leaves_as_it_is_withdrawn(browser: Browser, grape_process: StartGrape) -> None:
    grape = grape_process()
    grape.call("announce", ["rest:util:net", 1337])
    browser.open(f"{grape.api.url}/")
    browser.until_text("#services-rows", "rest:util:net")
    grape.call("unannounce", ["rest:util:net", 1337])
    browser.until(f"!{SERVICE_ROWS}.includes('rest:util:net')", APPEAR_SECONDS)


def test_empty_grape_says_what_to_do(browser: Browser, shot: Shot, grape_process: StartGrape) -> None:
    grape = grape_process()
    browser.open(f"{grape.api.url}/")
    browser.until_text("#state", "Alone")
    assert browser.text("#contacts-empty pre").endswith(f"--bn {grape.api.node}")
    shot("empty")
    assert browser.do("axe") == []
    command = browser.text("#services-empty pre")
    subprocess.run(command, shell=True, capture_output=True, timeout=10, check=True)
    browser.until_text("#services-rows", "rest:util:net", APPEAR_SECONDS)


def test_isolated_grape_says_how_the_cause_is_found(browser: Browser, shot: Shot, grape_process: StartGrape) -> None:
    grape = grape_process("--bn", f"{HOST}:{free_port()}")
    browser.open(f"{grape.api.url}/")
    browser.until_text("#state", "Isolated")
    browser.until_text("#contacts-empty pre", f"grape doctor --url {grape.api.url}")
    shot("isolated")
    assert browser.do("axe") == []


def test_restart_is_survived_and_said(browser: Browser, shot: Shot, grape_process: StartGrape) -> None:
    grape = grape_process()
    browser.open(f"{grape.api.url}/")
    browser.until_text("#state", "Alone")
    grape.end()
    browser.until_text("#state", "Stopped")
    shot("stopped")
    grape_process(api=grape.api)
    browser.until_text("#notice", "The grape was restarted")
    browser.until_text("#state", "Alone")
    # While there was no grape, the browser itself noted that its requests failed.
    browser.open(f"{grape.api.url}/")


def test_name_of_a_service_is_shown_as_text(browser: Browser, grape_process: StartGrape) -> None:
    grape = grape_process()
    grape.call("announce", [HOSTILE, 1337])
    browser.open(f"{grape.api.url}/")
    browser.until_text("#services-rows", HOSTILE)
    assert browser.value("document.querySelectorAll('#services-rows img').length") == 0


def test_services_beyond_those_that_are_live_are_reached(browser: Browser, grape_process: StartGrape) -> None:
    grape = grape_process()
    number = SERVICES + 40
    with Client(grape.api.api_port) as client:
        for at in range(number):
            client.call("announce", [f"service-{at:04}", 1_000 + at])
    browser.open(f"{grape.api.url}/")
    browser.until_text("#services-pager", f"of {number:,} services")
    next_page = "document.querySelector('#services-pager button:last-of-type')"
    for first in range(15, number, 15):
        browser.value(f"{next_page}.click()")
        browser.until(f"{SERVICE_ROWS}.startsWith('service-{first:04}')")
    assert browser.value(f"{next_page}.getAttribute('aria-disabled')") == "true"
    browser.until_text("#services-rows", f"service-{number - 1:04}")
    browser.value("document.querySelector('#services-search').focus()")
    browser.do("type", text="service-1033")
    browser.until(f"{SERVICE_ROWS}.startsWith('service-1033')")


def test_peers_of_a_service_are_listed(browser: Browser, shot: Shot, grape_process: StartGrape) -> None:
    grape = grape_process()
    for port in range(1_001, 1_011):
        grape.call("announce", ["rest:util:net", port])
    browser.open(f"{grape.api.url}/")
    browser.until_text("#services-rows", f"{HOST}:1010")
    browser.value("document.querySelector('#services-rows button').click()")
    browser.until_text("#services-peers", "10 peers, as of")
    assert browser.value("document.querySelectorAll('#services-peers li').length") == 10
    shot("peers")
    assert browser.do("axe") == []
    browser.value("document.querySelector('#services-peers button').focus()")
    browser.press("Enter")
    assert browser.text(":focus") == "rest:util:net"


def test_item_is_looked_up(browser: Browser, grape_ring: StartRing) -> None:
    first, second = grape_ring(2)
    target = second.call("put", "words")
    browser.open(f"{first.api.url}/")
    browser.value("document.querySelector('input[value=get]').click()")
    browser.value("document.querySelector('#lookup-name').focus()")
    browser.do("type", text="nonsense")
    browser.press("Enter")
    browser.until_text("#lookup-outcome", "40 hex digits")
    browser.value("document.querySelector('#lookup-name').value = ''")
    browser.do("type", text=target)
    browser.press("Enter")
    browser.until_text("#lookup-outcome", "The item was found: an immutable value")
    assert browser.text("#lookup-found") == "words"


def test_all_is_reached_by_keyboard(browser: Browser, grape_ring: StartRing) -> None:
    first, second = grape_ring(2)
    announce(second, 30)
    browser.open(f"{first.api.url}/")
    browser.until_text("#services-pager", "30 services")
    browser.press("Tab")
    assert browser.text(":focus") == "Skip to the content"
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "main"
    reached = []
    for _ in range(30):
        browser.press("Tab")
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        name = browser.value("document.activeElement.id || document.activeElement.innerText")
        if name in reached or browser.value("document.activeElement === document.body"):
            break
        assert browser.value(ring) != "none", name
        reached.append(name)
        if name == "Contacts as a table":
            browser.press("Enter")
            browser.until_text("#contacts-rows", second.api.node)
        elif name == "Next":
            browser.press("Enter")
            browser.until_text("#services-pager", "16 to 30 of 30 services")
        elif name == "lookup-name":
            browser.do("type", text="rest:util:service-01")
            browser.press("Enter")
            browser.until_text("#lookup-outcome", "1 peer found")
    assert {"Contacts as a table", "services-search", "Next", "lookup-name", "Look up"} <= set(reached)


def test_large_network_changes_little_of_the_page_for_ten_minutes(browser: Browser, shot: Shot, serve: Serve) -> None:
    server = serve(lambda: LargeNetwork().events(TEN_MINUTES), FAST)
    browser.open(server.url)
    browser.until_text("#services-count", f"{SERVICES:,}")
    changes, told = browser.value("window.changes"), server.told
    until("ten minutes are told", lambda: server.told > TEN_MINUTES, DONE_SECONDS)
    browser.until_text("#charts-span", "covers 10 min")
    changed = (browser.value("window.changes") - changes) / (server.told - told)
    assert changed <= MOST_CHANGES
    assert browser.do("heap") < HEAP_BYTES
    assert browser.value("document.querySelectorAll('#contacts-plot path.good').length") > CONTACTS / 2
    shot("large")
    browser.value("document.querySelector('#services-search').focus()")
    browser.do("type", text="SERVICE-0999")
    browser.until(f"{SERVICE_ROWS}.startsWith('rest:util:service-0999')")
    browser.press("Tab", "Tab", "Enter")
    browser.until_text("#services-peers", "6 peers, the 3 newest of them")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_degraded_grape_says_why(scheme: str, browser: Browser, shot: Shot, serve: Serve) -> None:
    server = serve(lambda: LargeNetwork().events(3, is_degraded=True), 0.2)
    browser.open(server.url, scheme=scheme, height=1_400)
    browser.until_text("#state", "Degraded")
    browser.until_text("#problems", "No space left on device")
    browser.until_text("#limits-rows", "--max-calls")
    browser.until_text("#log-lines", "the state file cannot be written")
    shot(f"degraded-{scheme}")
    assert browser.do("axe") == []
