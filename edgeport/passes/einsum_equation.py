"""What an Einsum equation says: the labels of every operand's axes and of the result's."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """An equation without ellipses.

    Attributes:
        operands: for every operand the label of each axis; one that repeats is a diagonal.
        result: the labels of the result's axes.
    """

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def parse(text: str, ranks: Sequence[int]) -> Equation | None:
    """Reads an equation; the axes behind an ellipsis get labels that line up from the right, as numpy broadcasts.

    Args:
        text: the attribute, e.g. `...ij,jk->...ik`.
        ranks: number of axes of each operand.

    Returns:
        None when the equation does not fit the operands.
    """
    compact = text.replace(" ", "")
    left, arrow, right = compact.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return None
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(h < 0 or (h > 0 and "..." not in term) for h, term in zip(hidden, terms, strict=True)):
        return None
    most = max((h for h, term in zip(hidden, terms, strict=True) if "..." in term), default=0)
    names = tuple(f"...{i}" for i in range(most))
    operands = [_labels(term, names[most - h :]) for term, h in zip(terms, hidden, strict=True)]
    if arrow:
        result = _labels(right, names)
    else:
        counts = collections.Counter(left.replace("...", "").replace(",", ""))
        result = (*names, *sorted(label for label, count in counts.items() if count == 1))
    every = {label for operand in operands for label in operand}
    if len(set(result)) != len(result) or not every.issuperset(result):
        return None
    return Equation(tuple(operands), result)


def _labels(term: str, hidden: tuple[str, ...]) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    return (*before, *(hidden if dots else ()), *after)
