"""Draws docs/images/ring.svg and docs/images/lookup.svg; ``python -m docs._ext.drawings [FOLDER]`` writes them.

The same files come out each time, under every Python: ids are hashes of numbers, and nothing is measured. A test
compares what is committed with a fresh run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from hashlib import sha1
from math import cos, pi, sin
from pathlib import Path

from docs._ext.svg import Drawing

IMAGES = Path(__file__).resolve().parent.parent / "images"

# The ring: a name and the grapes that hold it. K is the number of holders, as in the program.
NAME = "rest:util:net"
GRAPES = 64
K = 20
# Which grape of the drawing is the service's own, and which the client's: those nearest to these places of the circle.
SERVICE_AT, CLIENT_AT = 0.83, 0.64
MIDDLE_X, MIDDLE_Y, RADIUS = 420.0, 262.0, 196.0

# The lookup: where each participant's line stands.
CLIENT, GRAPE, KNOWN, CLOSER, SILENT = 90.0, 268.0, 470.0, 660.0, 820.0


def ring() -> str:
    """Draws where a service's address is stored, and who asks for it: the whole space of ids as a circle."""
    drawing = Drawing(
        840,
        524,
        "A ring: where a service is stored",
        f"The ids of {GRAPES} grapes on a circle. The address of the service {NAME} is stored by the {K} grapes whose "
        "ids are closest to its name. The service announces itself through the grape of its own host, the client looks "
        "it up through another one.",
    )
    ids = [int.from_bytes(sha1(str(number).encode()).digest()) for number in range(GRAPES)]
    key = int.from_bytes(NAME.encode().ljust(20, b"\0"))
    own, asked = (min(ids, key=lambda id: abs(id / 2**160 - place)) for place in (SERVICE_AT, CLIENT_AT))
    holders = sorted((id for id in ids if id not in (own, asked)), key=lambda id: id ^ key)[:K]
    drawing.add("circle", cx=MIDDLE_X, cy=MIDDLE_Y, r=RADIUS, fill="none", class_="s-line", stroke_width=1.2)
    for kind, grape in (("service", own), ("client", asked)):
        for holder in holders:
            (x1, y1), (x2, y2) = _place(grape), _place(holder)
            drawing.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"s-{kind}", stroke_width=1, stroke_opacity="0.55")
    for id in ids:
        x, y = _place(id)
        if id in holders:
            drawing.add("circle", cx=x, cy=y, r=7, class_="f-grape")
        elif id in (own, asked):
            drawing.add("circle", cx=x, cy=y, r=9, class_="f-service" if id == own else "f-client")
        else:
            drawing.add("circle", cx=x, cy=y, r=5, class_="f-paper s-line", stroke_width=1.5)
    x, y = _place(key, RADIUS + 2)
    drawing.add("path", d=f"M{x:.1f} {y - 9:.1f} l9 9 l-9 9 l-9 -9 z", class_="f-late s-paper", stroke_width=1.5)
    _labels_of_ring(drawing, own, asked, key)
    return drawing.render()


def _labels_of_ring(drawing: Drawing, own: int, asked: int, key: int) -> None:
    x, y = _place(key, RADIUS + 18)
    drawing.text(x + 4, y + 12, "the key: the bytes of the name", "late")
    drawing.text(MIDDLE_X, MIDDLE_Y - RADIUS - 34, "ids from 000... clockwise to fff...", "quiet", anchor="middle")
    drawing.arrow(MIDDLE_X, MIDDLE_Y - RADIUS - 26, MIDDLE_X, MIDDLE_Y - RADIUS - 8, "line")
    drawing.lines(
        644, 196, (f"the {K} grapes closest", "to the key (by XOR)", "hold 10.0.0.7:1337", "for 240 s"), "grape"
    )
    x, y = _place(own)
    drawing.box(22, y - 27, 138, 54, "service", ("service", NAME))
    drawing.arrow(160, y, x - 13, y, "service")
    drawing.text(22, y - 38, "POST /announce", "service")
    x, y = _place(asked)
    drawing.box(22, y - 20, 138, 40, "client", ("client",))
    drawing.arrow(160, y, x - 13, y, "client")
    drawing.text(22, y - 31, "POST /lookup", "client")
    drawing.lines(22, MIDDLE_Y - 14, ("each through the grape", "of its own host"), "quiet")


def _place(id: int, radius: float = RADIUS) -> tuple[float, float]:
    """Returns where an id stands on the circle: 0 at the top, then clockwise."""
    angle = 2 * pi * id / 2**160
    return MIDDLE_X + radius * sin(angle), MIDDLE_Y - radius * cos(angle)


def lookup() -> str:
    """Draws what happens between a client's request and the answer, from above to below."""
    drawing = Drawing(
        900,
        560,
        "The way of a lookup",
        "The client asks its grape. The grape asks the contacts that it knows, up to 16 at a time; they answer with "
        "peers and with nodes closer to the key. Those are asked in turn. A node without an answer after 30 to 100 "
        "milliseconds is asked once more, and the lookup goes on without it. When the 20 closest nodes have answered, "
        "the client gets up to 100 peers.",
    )
    for x, kind, texts in (
        (CLIENT, "client", ("client",)),
        (GRAPE, "grape", ("its grape",)),
        (KNOWN, "line", ("contacts close", "to the key")),
        (CLOSER, "line", ("nodes that are", "still closer")),
        (SILENT, "late", ("a node that", "is silent")),
    ):
        drawing.add("line", x1=x, y1=66, x2=x, y2=512, class_=f"s-{kind}", stroke_width=1, stroke_dasharray="2 5")
        drawing.box(x - 66, 18, 132, 48, kind, texts)
    _message(drawing, CLIENT, GRAPE, 100, "client", "POST /lookup")
    _message(drawing, GRAPE, KNOWN, 142, "grape", "get_peers, 16 at a time")
    _message(drawing, GRAPE, SILENT, 176, "late", "", note="get_peers")
    _message(drawing, KNOWN, GRAPE, 212, "grape", "closer nodes, a token")
    _message(drawing, GRAPE, CLOSER, 262, "grape", "", note="get_peers, to each node as it is named")
    _message(drawing, CLOSER, GRAPE, 304, "grape", "", note="peers, closer nodes, a token")
    width = SILENT - GRAPE - 28
    late = ("30 to 100 ms without an answer: the lookup goes on without that node",)
    drawing.box(GRAPE + 14, 328, width, 32, "late", late)
    _message(
        drawing, GRAPE, SILENT, 394, "late", "", note="get_peers, once more; a late answer still counts", dashed=True
    )
    drawing.box(GRAPE + 14, 416, width, 32, "grape", ("until the 20 closest nodes that can be reached have answered",))
    _message(drawing, GRAPE, CLIENT, 482, "client", "up to 100 peers")
    drawing.text(GRAPE + 14, 487, '["10.0.0.7:1337", ...], in random order', "client")
    announce = "An announce begins as a lookup; with the tokens the peer is then written to these 20 nodes."
    drawing.text(450, 536, announce, "quiet", anchor="middle")
    return drawing.render()


def _message(
    drawing: Drawing, start: float, end: float, y: float, kind: str, text: str, *, note: str = "", dashed: bool = False
) -> None:
    """Adds an arrow between two lines with a text above it: in its middle, or as a note beside the grape's line."""
    gap = 3.0 if end > start else -3.0
    drawing.arrow(start + gap, y, end - gap, y, kind, dashed=dashed)
    if text:
        drawing.text((start + end) / 2, y - 7, text, kind, anchor="middle")
    if note:
        drawing.text(GRAPE + 14, y - 7, note, kind)


DRAWINGS: Mapping[str, Callable[[], str]] = {"lookup.svg": lookup, "ring.svg": ring}


def write(folder: Path = IMAGES) -> None:
    """Writes all drawings into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        (folder / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
