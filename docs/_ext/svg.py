"""Writes SVG drawings that are readable on light and on dark pages, with a title and a description for screen readers.

Colours are names of ``PALETTE``; each drawing has both sets in its own style sheet, and a background of its own, so
that it can be read wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

#: Each colour on a light and on a dark page. Texts have a contrast of at least 4.5 to the background, shapes of 3.
PALETTE = {
    "paper": ("#ffffff", "#16181d"),
    "edge": ("#d0d7de", "#3a404a"),
    "ink": ("#1f2328", "#e6e9ee"),
    "quiet": ("#59636e", "#9aa4b0"),
    "line": ("#8a949e", "#6d7783"),
    "box": ("#f3f5f8", "#22262e"),
    "grape": ("#7a3fb5", "#c79bf2"),
    "service": ("#0a6e57", "#53c9a9"),
    "client": ("#0b62b8", "#74b3f5"),
    "late": ("#a84300", "#f0a060"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"


class Drawing:
    """A drawing of ``width`` by ``height`` units, to which shapes are added from the back to the front."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._width, self._height = width, height
        self._title, self._description = title, description
        self._lines: list[str] = []

    def add(self, element: str, text: str | None = None, **attributes: object) -> None:
        """Adds an element; ``_`` in the names of attributes stands for "-", numbers have one decimal at most."""
        names = "".join(
            f" {name.strip('_').replace('_', '-')}={quoteattr(_shown(attributes[name]))}" for name in attributes
        )
        self._lines.append(
            f"  <{element}{names}/>" if text is None else f"  <{element}{names}>{escape(text)}</{element}>"
        )

    def text(
        self, x: float, y: float, text: str, kind: str = "ink", *, anchor: str = "start", in_box: bool = False
    ) -> None:
        """Adds a line of text, whose baseline begins (or ends, or has its middle) at a point.

        Where it is not in a box, a rim in the colour of the background keeps lines away from its letters.
        """
        rim = "" if in_box else " rim"
        self.add("text", text, x=x, y=y, class_=f"f-{kind}{rim}", text_anchor=anchor, font_size=14)

    def box(self, x: float, y: float, width: float, height: float, kind: str, texts: Iterable[str]) -> None:
        """Adds a box with lines of text in its middle, in ink; ``kind`` is the colour of its edge."""
        self.add("rect", x=x, y=y, width=width, height=height, rx=7, class_=f"f-box s-{kind}", stroke_width=1.5)
        lines = list(texts)
        first = y + height / 2 + 5 - 9.5 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + 19 * number, line, anchor="middle", in_box=True)

    def lines(self, x: float, y: float, texts: Iterable[str], kind: str) -> None:
        """Adds lines of text one below the other."""
        for number, text in enumerate(texts):
            self.text(x, y + 19 * number, text, kind)

    def arrow(self, x1: float, y1: float, x2: float, y2: float, kind: str, *, dashed: bool = False) -> None:
        """Adds an arrow from a point to another one."""
        dashes = {"stroke_dasharray": "6 4"} if dashed else {}
        self.add(
            "line",
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            class_=f"s-{kind}",
            stroke_width=1.8,
            marker_end=f"url(#{kind})",
            **dashes,
        )

    def render(self) -> str:
        """Returns the file's text."""
        light, dark = (
            "".join(f".f-{name}{{fill:{both[n]}}}.s-{name}{{stroke:{both[n]}}}" for name, both in PALETTE.items())
            + f".rim{{stroke:{PALETTE['paper'][n]};stroke-width:4px;stroke-linejoin:round;paint-order:stroke}}"
            for n in (0, 1)
        )
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0.8 L10 5 L0 9.2 z" class="f-{name}"/></marker>'
            for name in ("grape", "service", "client", "late", "line")
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {self._height}" width="{self._width}" '
            f'height="{self._height}" role="img" aria-labelledby="title description" font-family={quoteattr(FONT)}>',
            f'  <title id="title">{escape(self._title)}</title>',
            f'  <desc id="description">{escape(self._description)}</desc>',
            f"  <style>{light}",
            f"  @media (prefers-color-scheme: dark) {{{dark}}}</style>",
            f"  <defs>{heads}</defs>",
            f'  <rect x="0.5" y="0.5" width="{self._width - 1}" height="{self._height - 1}" rx="10" '
            'class="f-paper s-edge"/>',
        )
        return "\n".join((*head, *self._lines, "</svg>")) + "\n"


def _shown(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
