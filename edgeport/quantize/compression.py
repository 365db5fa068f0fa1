"""How a constant is stored other than by evenly spaced integers: a palette of its values, or its nonzero values alone.

Nodes with the kernel `palettized` or `sparse` compute in float on what `restored` gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeport.sample import Array


@dataclass(frozen=True, eq=False)
class Palette:
    """Weights as indices into tables of 2**bits values each ("non-uniform quantization").

    Attributes:
        lut: float32, shape (groups, 2**bits), every row ascending; one with fewer distinct values repeats its last.
        bits: width of an index: 2, 4, 6 or 8.
        axis: the axis of the tensor that is cut into as many equal runs as there are rows in `lut`; None where one
            table serves the whole tensor.
    """

    lut: npt.NDArray[np.float32]
    bits: int
    axis: int | None = None

    def indices(self, weight: Array) -> npt.NDArray[np.uint8]:
        """The index of the nearest value of the table (of two equally near the lower); shape of `weight`."""
        rows = self._rows(weight)
        found = np.empty(rows.shape, np.uint8)
        for row, lut, out in zip(rows, self.lut, found, strict=True):
            values = lut.astype(np.float64)
            bounds = (values[1:] + values[:-1]) / 2
            # Repeated values at the end of a table have bounds that equal them; the first of them is meant.
            out[:] = np.searchsorted(bounds[: np.unique(values).size - 1], row, side="left")
        return self._like(found, weight.shape)

    def dequantize(self, indices: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The values that indices, in the shape of the tensor, stand for."""
        rows = self._rows(indices)
        return self._like(np.take_along_axis(self.lut, rows.astype(np.intp), axis=1), indices.shape)

    def restored(self, weight: Array) -> npt.NDArray[np.float32]:
        """What a kernel reads of `weight` after it was stored so."""
        return self.dequantize(self.indices(weight))

    def _rows(self, tensor: Array) -> Array:
        """The tensor's elements by table, shape (groups, elements)."""
        moved = tensor if self.axis is None else np.moveaxis(tensor, self.axis, 0)
        return moved.reshape(len(self.lut), -1)

    def _like(self, rows: Array, shape: tuple[int, ...]) -> Array:
        if self.axis is None:
            return rows.reshape(shape)
        axis = self.axis % len(shape)
        moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


@dataclass(frozen=True, eq=False)
class Sparse:
    """Weights of which only some are stored, with a bit for each that says whether it is; the others are zero.

    Attributes:
        mask: bool, shape of the tensor: True where a weight stays.
    """

    mask: npt.NDArray[np.bool_]

    def nonzero(self, weight: Array) -> Array:
        """The weights that stay, in C order, shape (number of True in `mask`,)."""
        return np.asarray(weight[self.mask])

    def restored(self, weight: Array) -> npt.NDArray[np.float32]:
        """What a kernel reads of `weight` after it was stored so."""
        return np.where(self.mask, weight, np.float32(0)).astype(np.float32)
