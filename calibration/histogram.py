"""Histograms whose merge is exact: power-of-two bin widths, edges at multiples of the width, int64 counts.

    width 2**e     |-3|-2|-1| 0| 1| 2|        bin i holds floor(x / 2**e) == i
    width 2**(e+1) | -2  | -1  |  0  |  1  |   widening adds neighbouring pairs: i -> i >> 1

Because floor(floor(x / w) / 2) == floor(x / 2w), a histogram that is widened equals one that was made wide. The
exponent is a function of the largest magnitude seen, so the histogram of a set does not depend on how it was split.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SIDE_BITS = 11
SIDE = 1 << SIDE_BITS
"""Bins on each side of zero; more than half of one side is used. int8 gets 4 to 8 bins a level of one-sided tensors."""

_MIN_EXPONENT = -126  # the smallest whose inverse, which values are multiplied by, is a finite float32
_KEPT = 4096
_MAX_STRIDE = 16

Counts = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


def empty_counts() -> Counts:
    """All bins at zero: shape (2 * SIDE,), bin i stands at position SIDE + i."""
    return np.zeros(2 * SIDE, np.int64)


def exponent_for(magnitude: float) -> int:
    """The smallest bin width exponent at which values of up to `magnitude` fit into `SIDE` bins."""
    return max(math.frexp(magnitude)[1] - SIDE_BITS, _MIN_EXPONENT) if magnitude > 0 else _MIN_EXPONENT


def widen(counts: Counts, steps: int) -> Counts:
    """Doubles the bin width `steps` times."""
    if steps == 0:
        return counts
    steps = min(steps, SIDE_BITS)  # by then all lies in the bins -1 and 0, which widening leaves alone
    half = SIDE >> steps
    wide = empty_counts()
    wide[SIDE - half : SIDE + half] = counts.reshape(-1, 1 << steps).sum(axis=1)
    return wide


def add_values(counts: Counts, values: Float32, exponent: int, non_negative: bool) -> None:
    """Counts `values` (shape (n,), finite, of magnitudes that fit `exponent`) into `counts`, in place."""
    scaled = values * np.float32(2.0**-exponent)  # exact, but where it underflows to zero
    if non_negative:
        counts[SIDE:] += np.bincount(scaled.astype(np.int32), minlength=SIDE)
        return
    np.floor(scaled, out=scaled)
    scaled += SIDE  # exact: integers far below 2**24
    counts += np.bincount(scaled.astype(np.int32), minlength=2 * SIDE)


def sampling_stride(shape: Sequence[int]) -> int:
    """Which elements of a tensor of this shape enter its histogram: every `stride`-th of the flattened tensor.

    1 for small tensors, about 16 for large ones, never fewer than about 4096 elements. The stride has no factor in
    common with any dimension, so that it walks over every channel, row and column.
    """
    size = math.prod(shape)
    wanted = min(size // _KEPT, _MAX_STRIDE)
    if wanted <= 1:
        return 1
    return next(s for s in itertools.count(wanted) if math.gcd(s, size) == 1)


def sampling_start(low: float, high: float, stride: int) -> int:
    """Where the walk of `sampling_stride` begins in a tensor with these extremes.

    It changes from one sample to the next, or an outlier that stands at the same place in all of them would be seen
    always or never; and it follows from the values alone, so that the order of samples does not matter.
    """
    return zlib.crc32(struct.pack("<2f", low + 0.0, high + 0.0)) % stride  # + 0.0: -0.0 is 0.0
