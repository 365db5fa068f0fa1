"""Near names for a mistyped word, so that every refusal of a name says what the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'precision'?` when a known name is near, else `use one of a, b, c`."""
    names = list(known)
    return _near(word, names) or f"use one of {', '.join(names)}"


def takes(word: str, known: Iterable[str]) -> str:
    """`takes a, b, c`, and which of them may have been meant."""
    names = list(known)
    near = _near(word, names)
    return f"takes {', '.join(names)}" + (f"; {near}" if near else "")


def _near(word: str, names: list[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
