"""Discrete Fourier transforms as matrices: the linear maps that they are, computed in float64 and rounded once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array

KEEP_FLOAT = "edgeport.keep_float"
"""Key in a node's metadata: why it must not be quantized, neither its weights nor what it reads."""
LARGEST = 1 << 24
"""Most elements of a matrix that is written into a model (64 MB)."""


@dataclass(frozen=True)
class Transform:
    """A transform along one axis (ONNX operator DFT).

    Attributes:
        length: number N of points.
        read: elements of the signal that are read; fewer than N stand for a signal followed by zeros.
        complex_input: whether elements are pairs (real, imaginary), else real.
        inverse: divides by N and turns the other way.
        onesided: forward: only the first N // 2 + 1 results; inverse: the signal is such a half, the result real.
    """

    length: int
    read: int
    complex_input: bool
    inverse: bool = False
    onesided: bool = False

    @property
    def parts_in(self) -> int:
        """Numbers an element of the signal."""
        return 2 if self.complex_input else 1

    @property
    def parts_out(self) -> int:
        """Numbers an element of the result."""
        return 1 if self.onesided and self.inverse else 2

    @property
    def results(self) -> int:
        """Elements of the result."""
        return self.length // 2 + 1 if self.onesided and not self.inverse else self.length

    @property
    def size(self) -> int:
        """Elements of the matrix."""
        return self.read * self.parts_in * self.results * self.parts_out


def marked(result: ir.Value) -> ir.Value:
    """The result of a product with a transform's matrix, whose node asks to stay float."""
    node = result.producer()
    assert node is not None, "a product is computed"
    node.metadata_props[KEEP_FLOAT] = "a Fourier transform: its quiet bins are smaller than 8 bits of its loud ones"
    return result


def fourier_matrix(transform: Transform) -> Array:
    """The matrix M of result = signal @ M.

    Args:
        transform: which transform.

    Returns:
        float32 [read * parts_in, results * parts_out]; the parts of an element lie side by side.
    """
    n, count = transform.length, transform.results
    turns = np.outer(np.arange(transform.read), np.arange(count)) % n  # exact, so that large products lose nothing
    angle = turns * (2 * np.pi / n) * (1 if transform.inverse else -1)
    weight = np.full(transform.read, 1 / n if transform.inverse else 1.0)
    if transform.inverse and transform.onesided:  # what lies between both ends stands for its mirror image too
        weight[1 : (n + 1) // 2] *= 2
    cos, sin = np.cos(angle) * weight[:, None], np.sin(angle) * weight[:, None]
    if transform.inverse and transform.onesided:
        sin[0] = 0
        if n % 2 == 0:
            sin[n // 2 :] = 0
    from_real = np.stack([cos, sin], axis=-1)  # (c + i s) x
    from_imaginary = np.stack([-sin, cos], axis=-1)  # (c + i s) i x
    blocks = np.stack([from_real, from_imaginary][: transform.parts_in], axis=1)[..., : transform.parts_out]
    return blocks.reshape(transform.read * transform.parts_in, count * transform.parts_out).astype(np.float32)
