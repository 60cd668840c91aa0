"""Input of deepcut's family of Thai word segmenters: characters and their kinds, in windows of 21."""

from __future__ import annotations

import numpy as np

from onnxsqueeze.zoo.data import Floats

_REACH = 10
_UNKNOWN = "\0"
_THAI = "".join(map(chr, (*range(0xE01, 0xE26), *range(0xE27, 0xE3B), *range(0xE40, 0xE4E), *range(0xE50, 0xE5A))))
_CHARACTERS = (
    "\n !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_abcdefghijklmno"
    f"{_UNKNOWN}pqrstuvwxyz}}~{_THAI}‘’\ufeff"
)
_OTHER_KIND = 4
_KINDS = (  # Thai consonants, rare ones, vowels, leading vowels, tones, signs; digits, quotes, ...
    ("กขฃคฆงจชซญฎฏฐฑฒณดตถทธนบปพฟภมยรลวศษสฬอ", 1),
    ("ฅฉผฟฌหฮ", 3),
    ("ะาำิีืึุู", 10),
    ("เแโใไ", 11),
    ("่้๊๋", 9),
    ("์ๆฯ.", 7),
    ("0123456789๑๒๓๔๕๖๗๘๙", 2),
    ("\"‘’'", 6),
    (" ", 5),
    ("abcdefghijklmnopqrstuvwxyz", 8),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0),
)


def windows(text: str) -> tuple[Floats, Floats]:
    """Numbers, and kinds, of the 10 characters after each, the 10 before it (nearest first) and itself."""
    number = {character: place for place, character in enumerate(_CHARACTERS)}
    kind = {character: code for characters, code in _KINDS for character in characters}
    padded = " " * _REACH + text + " " * _REACH
    rows = [
        padded[place + 1 : place + 1 + _REACH] + padded[place - _REACH : place][::-1] + padded[place]
        for place in range(_REACH, _REACH + len(text))
    ]
    characters = [[number.get(character, number[_UNKNOWN]) for character in row] for row in rows]
    kinds = [[kind.get(character, _OTHER_KIND) for character in row] for row in rows]
    return np.array(characters, np.float32), np.array(kinds, np.float32)
