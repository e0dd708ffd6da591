"""Draws SVG pictures that are readable in light and dark, for the charts of the gauntlet and the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

# The fill or stroke of each class in light and in dark.
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#12171d"),
    "ink": ("#17212b", "#e8edf2"),
    "soft": ("#556372", "#9fb0c0"),
    "bad": ("#b3261e", "#ff8a80"),
    "good": ("#1d6b3a", "#7fd69b"),
    "one": ("#2f6fb5", "#5b9fe6"),
    "two": ("#c2570c", "#f0944d"),
    "three": ("#77818c", "#8c99a6"),
    "four": ("#7a5aa6", "#b395e0"),
}
LINES: Mapping[str, tuple[str, str]] = {
    "grid": ("#dfe5ea", "#27313b"),
    "axis": ("#17212b", "#e8edf2"),
    "goal": ("#17212b", "#ffffff"),
    "aim": ("#17212b", "#ffffff"),
    "range": ("#17212b", "#e8edf2"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"
SIZE = 12
TITLE_SIZE = 20
# The usual width of a character as a share of the size of the font.
CHARACTER = 0.54


def _style() -> str:
    def rules(shade: int) -> str:
        fills = [f".{name}{{fill:{shades[shade]}}}" for name, shades in COLOURS.items()]
        strokes = [f".{name}{{stroke:{shades[shade]}}}" for name, shades in LINES.items()]
        return "".join(fills + strokes)

    return (
        f"text{{font:{SIZE}px {FONT}}}.title{{font-size:{TITLE_SIZE}px;font-weight:600}}.strong{{font-weight:600}}"
        ".pale{opacity:.45}.goal{stroke-width:2}.aim{stroke-width:2;stroke-dasharray:2 2}"
        ".grid,.axis,.range{stroke-width:1}"
        f"{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"
    )


class Drawing:
    """Collects the shapes of a picture of so many pixels; y is 0 at the top.

    ``title`` and ``description`` are for those who cannot see it. Classes of shapes are keys of COLOURS and LINES, for
    text also "title" and "strong", for bars also "pale".
    """

    def __init__(self, width: float, title: str, description: str) -> None:
        self.width = width
        self._title = title
        self._description = description
        self._shapes: list[str] = []

    def text(self, x: float, y: float, text: str, of: str = "ink", anchor: str = "start") -> None:
        """Writes a line of text whose base line begins, has its middle or ends at a place, as ``anchor`` says."""
        self._shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{of}" text-anchor="{anchor}">{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, of: str, tip: str = "") -> None:
        """Fills a rectangle. ``tip`` is shown where the pointer is on it."""
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
        self._shapes.append(f'<rect {place} class="{of}">{inside}</rect>')

    def line(self, x: float, y: float, to_x: float, to_y: float, of: str) -> None:
        """Draws a line."""
        self._shapes.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{of}"/>')

    def legend(self, x: float, y: float, entries: Iterable[tuple[str, str]]) -> None:
        """Writes (class, text) side by side, each with a square or, for a class of lines, a stroke of its colour."""
        for of, text in entries:
            if of.split()[0] in LINES:
                self.line(x + 5, y - 10, x + 5, y + 2, of)
            else:
                self.bar(x, y - 9, 10, 10, of)
            self.text(x + 16, y, text, "soft")
            x += 16 + text_width(text) + 20

    def svg(self, height: float) -> str:
        """Returns the picture with that height."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}" height="{height:.0f}"'
            f' viewBox="0 0 {self.width:g} {height:.0f}" role="img" aria-label={quoteattr(self._title)}>\n'
            f"<title>{escape(self._title)}</title>\n<desc>{escape(self._description)}</desc>\n"
            f'<style>{_style()}</style>\n<rect width="100%" height="100%" class="paper"/>\n'
            + "\n".join(self._shapes)
            + "\n</svg>\n"
        )


def head(drawing: Drawing, title: str, lines: Sequence[tuple[str, str]], margin: float) -> float:
    """Writes the title, and below it (class, text) wrapped to the width; returns the y below them."""
    drawing.text(margin, 34, title, "ink title")
    y = 56.0
    for of, text in lines:
        for part in wrapped(text, drawing.width - 2 * margin):
            drawing.text(margin, y, part, of)
            y += 17
    return y


def text_width(text: str) -> float:
    """Estimates the width of a text, in pixels."""
    return len(text) * SIZE * CHARACTER


def wrapped(text: str, width: float) -> list[str]:
    """Breaks a text into lines of at most so many pixels, by the estimate."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def nice_step(most: float, steps: int = 6) -> float:
    """Returns 1, 2 or 5 times a power of ten, of which at most ``steps`` reach ``most``."""
    power = 10.0 ** math.floor(math.log10(most / steps))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * steps >= most)


def stamp(about: Mapping[str, object]) -> str:
    """Returns one line about when and where: machine, system, date and commit, as far as ``gauntlet.about`` told."""
    machine = f"{about.get('processor', 'an unknown machine')}, {about.get('processors', '?')} processors"
    parts = [machine, str(about.get("system", "")), str(about.get("date", ""))[:10]]
    commit = str(about.get("commit", ""))
    if commit:
        # A plus sign is there if files of the checkout were changed.
        parts.append(f"commit {commit.rstrip('+')}" + (" with changes" if commit.endswith("+") else ""))
    return " · ".join(part for part in parts if part)
