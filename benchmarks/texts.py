"""Text for the encoder benchmark, from what every Python brings along: the language reference in `pydoc_data`.

Words and punctuation are tokens; the vocabulary is the most frequent ones. The last eighth of the sections is held out
from training and calibration.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np
import numpy.typing as npt

VOCABULARY, LENGTH = 8192, 128
PAD, UNKNOWN, MASK = 0, 1, 2
_FIRST_WORD = 3
_PIECES = re.compile(r"\w+|[^\w\s]")

Sample = dict[str, npt.NDArray[np.int64]]


@cache
def _sections() -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]]:
    """Token ids of every section, for learning and held out."""
    from pydoc_data.topics import topics

    pieces = [_PIECES.findall(topics[name].lower()) for name in sorted(topics)]
    counts = Counter(piece for section in pieces for piece in section)
    common = sorted(counts, key=lambda piece: (-counts[piece], piece))[: VOCABULARY - _FIRST_WORD]
    ids = {piece: i + _FIRST_WORD for i, piece in enumerate(common)}
    sections = [np.array([ids.get(piece, UNKNOWN) for piece in section], np.int64) for section in pieces]
    return [s for i, s in enumerate(sections) if i % 8 != 7], [s for i, s in enumerate(sections) if i % 8 == 7]


def samples(count: int, seed: int, held_out: bool = False) -> list[Sample]:
    """Windows of text: `ids` and `mask`, int64 (1, LENGTH); every second one is shorter and padded (mask 0)."""
    sections = [s for s in _sections()[held_out] if len(s) > LENGTH]
    order = np.random.default_rng(seed)
    found: list[Sample] = []
    for number in range(count):
        section = sections[order.integers(len(sections))]
        start = order.integers(len(section) - LENGTH)
        ids = section[start : start + LENGTH].copy()
        mask = np.ones(LENGTH, np.int64)
        if number % 2:
            mask[order.integers(LENGTH // 4, LENGTH) :] = 0
        ids[mask == 0] = PAD
        found.append({"ids": ids[None], "mask": mask[None]})
    return found
