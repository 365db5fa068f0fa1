"""Which neighbouring axes can be seen as one, and permutations as moves of such groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

Groups = list[list[int]]
"""Axes that are seen as one, in order; every axis stands in one group."""


def grouped(sizes: Sequence[int], kinds: Sequence[Hashable]) -> Groups:
    """Neighbouring axes of the same kind, those of size 1 (whatever their kind) beside any other.

    Args:
        sizes: of all axes.
        kinds: what is done along each axis; axes of one kind must be as good as one axis of all their elements.
    """
    groups: Groups = []
    last: Hashable = None
    for axis, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
        if groups and (size == 1 or kind == last):
            groups[-1].append(axis)
        elif groups and all(sizes[a] == 1 for a in groups[-1]):
            groups[-1].append(axis)
            last = kind
        else:
            groups.append([axis])
            last = kind
    return groups


def merged(shape: Sequence[int], groups: Groups) -> list[int]:
    """The shape with one axis a group."""
    return [math.prod(shape[axis] for axis in group) for group in groups]


Step = tuple[list[int], list[int]]
"""A transposition: the shape that its input is seen in, and the order of these axes."""


def transpositions(shape: Sequence[int], perm: Sequence[int], most: int) -> list[Step]:
    """A transposition as one or several of at most `most` axes, between which only shapes change.

    Axes of size 1 are left out, and those that stay neighbours move as one. What is still too much is brought nearer
    to its order by exchanging two neighbouring blocks, those after which the fewest groups are left.

    Args:
        shape: of the input.
        perm: order of its axes.
        most: at least 4.
    """
    order = [axis for axis in perm if shape[axis] != 1]
    sizes = {axis: shape[axis] for axis in order}
    standing = sorted(order)
    steps: list[Step] = []
    while standing != order:
        runs = _runs(standing, order)
        if len(runs) <= most:
            wanted = sorted(range(len(runs)), key=lambda i: order.index(runs[i][0]))
            steps.append(([math.prod(sizes[a] for a in run) for run in runs], wanted))
            break
        count = len(runs)
        cuts = itertools.combinations(range(count + 1), 3)
        a, b, c = min(cuts, key=lambda cut: len(_runs(_exchanged(runs, *cut), order)))
        blocks = [runs[:a], runs[a:b], runs[b:c], runs[c:]]
        seen = [math.prod(sizes[axis] for run in block for axis in run) for block in blocks]
        steps.append((seen, [0, 2, 1, 3]))
        standing = _exchanged(runs, a, b, c)
    return steps


def _exchanged(runs: Groups, a: int, b: int, c: int) -> list[int]:
    return [axis for run in (*runs[:a], *runs[b:c], *runs[a:b], *runs[c:]) for axis in run]


def _runs(standing: Sequence[int], order: Sequence[int]) -> Groups:
    """Axes as they stand, in groups that the wanted order leaves together."""
    runs: Groups = []
    for axis in standing:
        if runs and order.index(axis) == order.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs
