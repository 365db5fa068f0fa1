"""What is quantized at which precision."""

from __future__ import annotations

from edgeport.errors import UsageError
from edgeport.quantize.plan import Kernel
from edgeport.quantize.scheme import Scheme

KERNELS: dict[str, Kernel] = {"fp32": "float32"}
"""Precision -> the kernel of the nodes that hold weights."""
PRECISIONS = tuple(KERNELS)


def coreai_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the Core AI target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the coreai target takes {', '.join(KERNELS)}")
    return Scheme(precision, KERNELS[precision])
