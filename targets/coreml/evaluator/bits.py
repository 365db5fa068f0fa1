"""Numbers of 1 to 7 bits packed into bytes, least significant bit first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unpack_bits(data: NDArray[np.uint8], bits: int, count: int, signed: bool = False) -> NDArray[Any]:
    """Unpacks numbers that follow each other without gaps, across byte borders too.

    Args:
        data: bytes, of shape [ceil(bits * count / 8)].
        bits: bits of a number, 1 to 8.
        count: how many numbers.
        signed: whether they are in two's complement.

    Returns:
        A vector of `count` uint8, or int8 when signed.
    """
    planes = np.unpackbits(data, count=bits * count, bitorder="little").reshape(count, bits)
    values = np.packbits(planes, axis=1, bitorder="little").reshape(count)
    if not signed:
        return values
    sign = np.uint8(1 << (bits - 1))
    return ((values ^ sign).astype(np.int16) - np.int16(sign)).astype(np.int8)
