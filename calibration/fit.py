"""Fits arrays to graph inputs: shapes, lossless casts, finite values. Every refusal says where, expected and found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport.errors import CalibrationError
from edgeport.sample import Array, InputSpec, as_dtype

LABEL_NAMES = ("label", "labels", "y")
"""Arrays of these names hold labels, unless the graph has an input of that name."""


def fits(expected: int | str, size: int) -> bool:
    """Whether a dimension is as expected; a symbolic one takes any size."""
    return isinstance(expected, str) or size == expected


def shape_matches(shape: Sequence[int], expected: Sequence[int | str]) -> bool:
    """Whether a shape is as expected; symbolic dimensions match any size."""
    return len(shape) == len(expected) and all(fits(e, s) for s, e in zip(shape, expected, strict=True))


def shape_text(shape: Sequence[int | str]) -> str:
    """`1x3x224x224`; `()` for a scalar."""
    return "x".join(str(d) for d in shape) or "()"


def rows_per_sample(spec: InputSpec, shape: Sequence[int], where: str) -> int:
    """How many entries of the first axis of a stored array make one sample; 0 if an entry is a whole sample as it is.

    Raises:
        CalibrationError: `shape`, whose first axis counts samples, does not fit the input.
    """
    if len(shape) >= 1:
        if shape_matches(shape[1:], spec.shape):
            return 0
        if spec.shape and shape_matches(shape[1:], spec.shape[1:]):
            batch = spec.shape[0]
            return batch if isinstance(batch, int) else 1
    expected = "Nx" + shape_text(spec.shape[1:]) if len(spec.shape) > 1 else "N"
    raise CalibrationError(
        f"{where} has shape {shape_text(shape)}, but input {spec} needs {expected} (the first axis counts samples)"
    )


def fit_sample(array: Array, spec: InputSpec, where: str) -> Array:
    """One sample's array, its batch axis of 1 added where it lacks one, in the input's dtype.

    Raises:
        CalibrationError: shape or dtype do not fit, or it holds NaN or infinite values.
    """
    if shape_matches(array.shape, spec.shape):
        return fit_values(array, spec, where)
    if spec.shape and fits(spec.shape[0], 1) and shape_matches(array.shape, spec.shape[1:]):
        return fit_values(array[None], spec, where)
    raise CalibrationError(
        f"{where} has shape {shape_text(array.shape)}, but input {spec} needs {shape_text(spec.shape)}"
    )


def check_dtype(found: np.dtype[np.generic], spec: InputSpec, where: str) -> None:
    """Refuses dtypes that cannot be cast to the input's without guessing.

    Raises:
        CalibrationError: floats for an integer input, integers for a float input, or no numbers at all.
    """
    wanted = as_dtype(spec.dtype)
    if found.kind not in "biuf":
        raise CalibrationError(f"{where} holds {found}, not numbers; input {spec} needs {spec.dtype}")
    if found == wanted or (found.kind == "f" and wanted.kind == "f"):
        return
    if wanted.kind == "f":
        hint = "cast it with .astype('float32') if these are the very values the model expects"
        if found == np.uint8:
            hint = (
                "preprocessing was probably forgotten: store the arrays as the model sees them (scaled, normalized, "
                f"{spec.dtype}), or declare [preprocessing] and store images as NxHxWx3"
            )
        raise CalibrationError(f"{where} is {found}, but input {spec} needs {spec.dtype}: {hint}")
    if found.kind == "f":
        raise CalibrationError(f"{where} is {found}, but input {spec} needs {spec.dtype}; store it as {spec.dtype}")


def fit_values(array: Array, spec: InputSpec, where: str) -> Array:
    """Casts to the input's dtype without loss (floats may round) and refuses NaN and infinite values.

    Raises:
        CalibrationError: see `check_dtype`; an integer is out of range; a value is NaN or infinite.
    """
    check_dtype(array.dtype, spec, where)
    wanted = as_dtype(spec.dtype)
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused below
        cast = np.ascontiguousarray(array.astype(wanted, copy=False))
    cast = cast.reshape(array.shape)  # ascontiguousarray makes scalars one-dimensional
    if wanted.kind == "f":
        if cast.size and not (np.isfinite(cast.min()) and np.isfinite(cast.max())):
            raise CalibrationError(f"{where} holds NaN or infinite values; remove or repair this sample")
    elif array.dtype != wanted and not np.array_equal(cast, array):
        raise CalibrationError(
            f"{where} holds values from {array.min()} to {array.max()}: out of range for input {spec}"
        )
    return cast
