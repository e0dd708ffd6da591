"""Writes fuzz/corpus/, a file for each recorded datagram of Node grapes (tests/vectors/wire-vectors.json).

``python fuzz/make_corpus.py`` runs it; fuzz/datagrams.py does so by itself if there is no corpus yet.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha1
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
VECTORS = HERE.parent / "tests" / "vectors" / "wire-vectors.json"

# Messages of BEP 5 and BEP 44 that the recordings may lack, forms that only lenient decoding accepts, and ours.
MORE = (
    b"d1:ad3:agei5000e2:id20:abcdefghij012345678912:implied_porti0e9:info_hash13:rest:util:net4:porti1337e5:token8:"
    b"abcdefghe1:q15:unannounce_peer1:t2:aa1:v4:GP\x00\x011:y1:qe",
    b"d1:ad3:agei5000e2:id20:abcdefghij012345678912:implied_porti0e9:info_hash13:rest:util:net8:made_agoi0e4:porti1337e"
    b"5:token8:abcdefghe1:q13:announce_peer1:t2:aa1:v4:GP\x00\x011:y1:qe",
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:v4:UT\x01\x02e1:y1:qe",
    b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
    b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee",
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe trailing",
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi+1e1:t2:aa1:y1:qe",
    b"d1:rd2:id20:abcdefghij01234567895:nodes26:abcdefghij0123456789\x0a\x00\x00\x02\x4e\x21e1:t2:aa1:y1:re",
)


def make_corpus(folder: Path = CORPUS) -> int:
    """Writes the files, named by their SHA-1, and returns how many there are."""
    scenes = json.loads(VECTORS.read_text())
    datagrams = {bytes.fromhex(packet["hex"]) for scene in scenes for packet in scene["packets"]} | set(MORE)
    folder.mkdir(exist_ok=True)
    for datagram in datagrams:
        (folder / sha1(datagram).hexdigest()).write_bytes(datagram)
    return len(datagrams)


if __name__ == "__main__":
    sys.stdout.write(f"{make_corpus()} datagrams in {CORPUS}\n")
