"""Lists of tensors, as loops of recurrent models use them. A write makes a new list; elements are shared."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call, boxed
from edgeport.targets.coreml.evaluator.program import BY_NAME
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_LONGEST = 1 << 24


def _items(call: Call) -> list[Any]:
    items = call.array("ls")[()]
    if not isinstance(items, list):
        raise EvaluationError("'ls' is not a list")
    return items


def _item(items: list[Any], index: int) -> Array:
    if not 0 <= index < len(items) or items[index] is None:
        raise EvaluationError(f"element {index} of a list of {len(items)} was never written")
    value: Array = items[index]
    return value


def _written(items: list[Any], index: int, value: Array) -> None:
    """Writes in place; a list grows up to the index."""
    if not 0 <= index < _LONGEST:
        raise EvaluationError(f"writes element {index} of a list")
    items += [None] * (index + 1 - len(items))
    items[index] = value


@evaluates("make_list")
def make_list(call: Call) -> Array:
    """A list of `init_length` elements: zeros where their shape is known, otherwise unwritten.

    Whether it may grow (`dynamic_length`) changes nothing here.
    """
    call.flag("dynamic_length", True)
    length, dtype = call.integer("init_length", 1), call.text("dtype", "fp32")
    sizes = [size[()] for size in call.arrays("elem_shape")]
    if not 0 <= length < _LONGEST or dtype not in BY_NAME:
        raise EvaluationError(f"a list of {length} elements of type {dtype!r}")
    if any(isinstance(size, str) for size in sizes):
        return boxed([None] * length)
    numpy_type = BY_NAME[dtype].numpy
    zeros = np.zeros(call.room(tuple(int(size) for size in sizes)), "f4" if numpy_type.kind == "f" else numpy_type)
    return boxed([zeros] * length)


@evaluates("list_length")
def list_length(call: Call) -> Array:
    """Number of elements."""
    return np.array(len(_items(call)), np.int32)


@evaluates("list_read")
def list_read(call: Call) -> Array:
    """One element."""
    return _item(_items(call), call.integer("index"))


@evaluates("list_write")
def list_write(call: Call) -> Array:
    """The list with one element replaced."""
    items = list(_items(call))
    _written(items, call.integer("index"), call.array("value"))
    return boxed(items)


@evaluates("list_gather")
def list_gather(call: Call) -> Array:
    """The elements at `indices`, stacked along a new first axis."""
    items = _items(call)
    return np.stack([_item(items, index) for index in call.ints("indices")])


@evaluates("list_scatter")
def list_scatter(call: Call) -> Array:
    """The list with the elements at `indices` replaced by the rows of `value`."""
    items = list(_items(call))
    for index, value in zip(call.ints("indices"), call.array("value"), strict=True):
        _written(items, index, value)
    return boxed(items)
