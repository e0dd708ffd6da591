"""The drawings of the documents are what their script draws, and readable: colours, titles, texts within the frame."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs._ext.drawings import DRAWINGS, IMAGES, K, write
from docs._ext.svg import PALETTE
from grape.dht.routing import K as K_OF_THE_PROGRAM

SVG = "{http://www.w3.org/2000/svg}"
DOCUMENTS = [*IMAGES.parent.glob("*.md"), IMAGES.parent.parent / "README.md"]
# WCAG 2.2, for text and for what is no text.
LEAST_OF_TEXT, LEAST_OF_SHAPES = 4.5, 3.0


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_what_its_script_draws(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    committed = (IMAGES / name).read_text(encoding="utf-8")
    assert committed == (tmp_path / name).read_text(encoding="utf-8"), "make drawings"


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_has_a_title_and_a_description_and_no_outside_host(name: str) -> None:
    text = DRAWINGS[name]()
    root = ElementTree.fromstring(text)
    assert [element.tag for element in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("name", DRAWINGS)
def test_texts_of_a_drawing_are_within_its_frame(name: str) -> None:
    root = ElementTree.fromstring(DRAWINGS[name]())
    width = float(root.attrib["width"])
    for element in root.iter(f"{SVG}text"):
        # Half of its size is what a letter takes, a little more in the widest of the fonts.
        length = 0.58 * float(element.attrib["font-size"]) * len(element.text or "")
        begin = float(element.attrib["x"]) - {"start": 0, "middle": length / 2}[element.attrib["text-anchor"]]
        assert begin >= 8, element.text
        assert begin + length <= width, element.text


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_shown_by_a_document(name: str) -> None:
    assert any(f"images/{name}" in path.read_text(encoding="utf-8") for path in DOCUMENTS)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_the_background(mode: int) -> None:
    for name, colours in PALETTE.items():
        if name in ("paper", "box", "edge"):
            continue
        least = LEAST_OF_SHAPES if name == "line" else LEAST_OF_TEXT
        assert contrast(colours[mode], PALETTE["paper"][mode]) >= least, name
        assert contrast(colours[mode], PALETTE["box"][mode]) >= least - 0.5, name


def test_ring_shows_as_many_holders_as_the_program_writes_to() -> None:
    assert K == K_OF_THE_PROGRAM


def contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours, "#rrggbb", as WCAG defines it: 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
