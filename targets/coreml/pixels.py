"""Images as inputs: the package takes pixels, and normalizes them itself.

    image (normalized) --> Conv(W, b)          ==>    pixels --> Conv(W / std, b - sum(W * mean / std))
    image (normalized) --> Conv(W, b, pads)    ==>    pixels --> Sub(mean) --> Conv(W / std, b, pads)
    image (normalized) --> anything else       ==>    pixels --> Sub(mean) --> Mul(1 / std) --> anything else

What a padded convolution pads with is 0 after the subtraction, so that has to stay. Weights that are stored in
integers keep the scales they were given, so nothing is folded into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.description import ImageInput
from edgeport.errors import UsageError
from edgeport.passes.edit import add_initializer, static_shape
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.sample import Array


def with_pixels(model: ir.Model, plan: Plan) -> tuple[ir.Model, Plan]:
    """The graph whose image inputs are pixels of [1, channels, height, width], and the plan for it.

    Args:
        model: the canonical graph; not changed.
        plan: `pixels` says which inputs.

    Raises:
        UsageError: an input that Core ML does not take as an image.
    """
    if not plan.pixels:
        return model, plan
    result = rewritten(model, ())
    exact, tensors = True, dict(plan.tensors)
    for value in result.graph.inputs:
        name = value.name or ""
        if name not in plan.pixels:
            continue
        _check(value, plan.pixels[name])
        exact &= all(_in_float(use.node, plan) for use in value.uses())
        inner = _normalized(result, value, plan.pixels[name])
        if name in tensors:
            tensors[inner.name or ""] = replace(tensors.pop(name), name=inner.name or "")
    return rewritten(result, ("fold_scale_shift", "merge_transposes") if exact else ()), replace(plan, tensors=tensors)


def handed_in(array: Array, image: ImageInput) -> Array:
    """The pixels of a normalized sample, float32 [1, channels, height, width] with whole numbers from 0 to 255."""
    pixels = image.pixels(array).astype(np.float32)
    return pixels.transpose(0, 3, 1, 2) if image.channels_last else pixels


def declared(images: Mapping[str, ImageInput]) -> dict[str, dict[str, object]]:
    """What a reader of the package has to know to make pixels of samples, JSON-ready; `read_back` reads it."""
    return {
        name: {"colour": i.colour, "mean": i.mean, "std": i.std, "size": i.size, "channels_last": i.channels_last}
        for name, i in images.items()
    }


def read_back(said: Mapping[str, Mapping[str, Any]]) -> dict[str, ImageInput]:
    """The images that `declared` wrote."""
    return {
        name: ImageInput(
            colour=one["colour"],
            mean=tuple(one["mean"]),
            std=tuple(one["std"]),
            size=(one["size"][0], one["size"][1]),
            channels_last=one["channels_last"],
        )
        for name, one in said.items()
    }


def _check(value: ir.Value, image: ImageInput) -> None:
    shape = static_shape(value)
    if shape is None or shape[0] != 1 or value.dtype != ir.DataType.FLOAT:
        raise UsageError(
            f"--image-input: Core ML takes one float32 image at a time, and input {value.name!r} is "
            f"{value.dtype} {list(shape or ())}; export it with a batch of 1"
        )


def _in_float(node: ir.Node, plan: Plan) -> bool:
    """Whether a node's constants are stored as the graph has them."""
    return plan.kernel(node.name) == "float32" and all(
        v is None or plan.compression(v.name) is None for v in node.inputs
    )


def _normalized(model: ir.Model, value: ir.Value, image: ImageInput) -> ir.Value:
    """Puts the normalization behind an input; returns what holds the former values."""
    name, shape = value.name or "image", static_shape(value)
    assert shape is not None
    users = list(value.uses())
    planar = (shape[0], shape[3], shape[1], shape[2]) if image.channels_last else shape
    mean, std = (np.reshape(numbers, (1, -1, 1, 1)) for numbers in (image.mean, image.std))
    steps: list[tuple[str, list[ir.Value], dict[str, list[int]]]] = []
    if np.any(mean):
        steps.append(("Sub", [_constant(model, f"{name}/mean", mean)], {}))
    if np.any(std != 1):
        steps.append(("Mul", [_constant(model, f"{name}/scale", 1 / std)], {}))
    if image.channels_last:
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
        value.shape = ir.Shape(planar)
    last, added = value, list[ir.Node]()
    for op_type, operands, attributes in steps:
        made = f"{name}/normalized{'' if len(added) == len(steps) - 1 else len(added)}"
        out = ir.Value(name=made, type=value.type, shape=ir.Shape(shape if op_type == "Transpose" else planar))
        added.append(ir.node(op_type, [last, *operands], attributes, outputs=[out], name=f"{made}/{op_type}"))
        last = out
    model.graph.insert_before(model.graph[0], added)
    for user, index in users:
        user.replace_input_with(index, last)
    return last


def _constant(model: ir.Model, name: str, array: Array) -> ir.Value:
    return add_initializer(model, name, array.astype(np.float32))
