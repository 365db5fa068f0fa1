"""What changed in operators between opset 7 and the canonical opset, one function a change.

Each function edits its node in place (or replaces it) from the form before the version it is listed with to the form
of that version. References: the operators' change log, github.com/onnx/onnx/blob/main/docs/Changelog.md. Where the
text leaves the numbers open (Resize-10 nearest), ONNX Runtime is the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.passes.edit import (
    Attribute,
    add_initializer,
    constant,
    get_int,
    get_str,
    input_of,
    insert_before,
    rank,
    static_shape,
    take_over,
)


@dataclass(frozen=True)
class Conversion:
    """One node on its way up: the model it stands in and the opset it was written for."""

    model: ir.Model
    node: ir.Node
    version: int

    def constant(self, role: str, array: npt.ArrayLike) -> ir.Value:
        """A new initializer named after the node's first output."""
        return add_initializer(self.model, f"{self.node.outputs[0].name}/{role}", array)

    def set_input(self, index: int, value: ir.Value | None) -> None:
        """Sets an input, growing the list when needed."""
        if value is None and index >= len(self.node.inputs):
            return
        if index >= len(self.node.inputs):
            self.node.resize_inputs(index + 1)
        self.node.replace_input_with(index, value)

    def set_attributes(self, **attributes: Attribute) -> None:
        """Sets attributes of the node."""
        for attribute in ir.convenience.convert_attributes(attributes):
            self.node.attributes[attribute.name] = attribute

    def pop(self, name: str) -> ir.Attr | None:
        """Takes an attribute away."""
        attribute = self.node.attributes.get(name)
        if attribute is not None:
            del self.node.attributes[name]
        return attribute

    def refuse(self, why: str) -> ModelError:
        """The error for what cannot be expressed."""
        return ModelError(why)


def _coerced_softmax(conversion: Conversion) -> None:
    """Before 13, dimensions from `axis` on were flattened into one and normalised together; default axis 1."""
    node, x = conversion.node, conversion.node.inputs[0]
    axis = get_int(node, "axis", 1)
    dims = rank(x)
    assert x is not None
    if dims is not None:
        axis = axis % dims if dims else 0
        shape = tuple(x.shape) if x.shape is not None else ()
        if all(d == 1 for d in shape[axis + 1 :]):
            conversion.set_attributes(axis=axis)
            return
    y = node.outputs[0]
    flat = insert_before(node, "Flatten", [x], {"axis": axis}, name=f"{y.name}/flat")
    normal = insert_before(node, node.op_type, [flat], {"axis": -1}, name=f"{y.name}/normalised")
    shape_of_x = insert_before(node, "Shape", [x], name=f"{y.name}/shape")
    take_over(y, "Reshape", [normal, shape_of_x])


def _clip_limits(conversion: Conversion) -> None:
    x = conversion.node.inputs[0]
    limits = [conversion.pop("min"), conversion.pop("max")]
    for index, (limit, role, unlimited) in enumerate(zip(limits, ("min", "max"), (-3.4e38, 3.4e38), strict=True), 1):
        if limit is None or abs(limit.as_float()) >= abs(unlimited):
            continue
        if x is None or x.dtype is None:
            raise conversion.refuse("the element type of its input is not known")
        conversion.set_input(index, conversion.constant(role, np.asarray(limit.as_float(), x.dtype.numpy())))


def _attribute_to_input(attribute: str, index: int, *, as_scalar: bool = False) -> Callable[[Conversion], None]:
    """An integer attribute became input number `index`."""

    def change(conversion: Conversion) -> None:
        taken = conversion.pop(attribute)
        if taken is not None:
            values = [taken.as_int()] if taken.type == ir.AttributeType.INT else [int(i) for i in taken.as_ints()]
            array = np.asarray(values[0] if as_scalar else values, np.int64)
            conversion.set_input(index, conversion.constant(attribute, array))

    return change


def _slice_inputs(conversion: Conversion) -> None:
    for index, name in enumerate(("starts", "ends", "axes"), 1):
        _attribute_to_input(name, index)(conversion)


def _pad_inputs(conversion: Conversion) -> None:
    _attribute_to_input("pads", 1)(conversion)
    value, x = conversion.pop("value"), conversion.node.inputs[0]
    if value is not None and value.as_float() != 0.0:
        if x is None or x.dtype is None:
            raise conversion.refuse("the element type of its input is not known")
        conversion.set_input(2, conversion.constant("value", np.asarray(value.as_float(), x.dtype.numpy())))


def _dropout_inputs(conversion: Conversion) -> None:
    """Up to 10 Dropout in inference is the identity and its mask is not defined."""
    if len(conversion.node.outputs) > 1:
        mask = conversion.node.outputs[1]
        if mask.uses() or mask.is_graph_output():
            raise conversion.refuse("its mask is read, which has no defined value in inference")
        conversion.node.resize_outputs(1)
    conversion.pop("ratio")
    conversion.pop("seed")


def _batch_norm_per_channel(conversion: Conversion) -> None:
    spatial = conversion.pop("spatial")
    if spatial is not None and not spatial.as_int():
        raise conversion.refuse("it normalises every place by itself (spatial=0)")


def _batch_norm_inference(conversion: Conversion) -> None:
    """Before 14 the number of outputs told training from inference."""
    node = conversion.node
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise conversion.refuse("it is in training mode (its running mean is read); export the model in eval mode")
    node.resize_outputs(1)


def _upsample_input(conversion: Conversion) -> None:
    scales = conversion.pop("scales")
    if scales is not None:
        conversion.set_input(1, conversion.constant("scales", np.asarray(scales.as_floats(), np.float32)))


def _upsample(conversion: Conversion) -> None:
    conversion.node.op_type = "Resize"


def _resize_from_10(conversion: Conversion) -> None:
    """Resize-10 is asymmetric; nearest rounds down when enlarging and up when shrinking, for each axis."""
    node = conversion.node
    x, scales = node.inputs[0], node.inputs[1]
    mode = get_str(node, "mode", "nearest")
    common: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    if mode != "nearest":
        conversion.set_attributes(**common)
        return
    factors = constant(scales)
    if factors is None:
        raise conversion.refuse("its scales are computed by the model, so the rounding of opset 10 is not known")
    if np.all(factors >= 1):
        conversion.set_attributes(**common, nearest_mode="floor")
        return
    if np.any(factors > 1):
        larger = conversion.constant("enlarge", np.maximum(factors, np.float32(1)))
        name = f"{node.outputs[0].name}/enlarged"
        x = insert_before(node, "Resize", [x, None, larger], {**common, "nearest_mode": "floor"}, name=name)
        node.replace_input_with(0, x)
        node.replace_input_with(2, conversion.constant("shrink", np.minimum(factors, np.float32(1))))
    conversion.set_attributes(**common, nearest_mode="ceil")


def _resize_optional_inputs(conversion: Conversion) -> None:
    """From 18 on exactly one of scales and sizes is given; before, the other one was an empty tensor."""
    node = conversion.node
    if get_str(node, "coordinate_transformation_mode", "half_pixel") == "tf_half_pixel_for_nn":
        raise conversion.refuse("tf_half_pixel_for_nn does not exist in later opsets")
    if input_of(node, 3) is not None:
        empty = constant(node.inputs[2])
        if node.inputs[2] is not None and (empty is None or empty.size):
            raise conversion.refuse("has both scales and sizes")
        node.replace_input_with(2, None)
    roi = constant(input_of(node, 1))
    if roi is not None and not roi.size:
        node.replace_input_with(1, None)


def _split_count(conversion: Conversion) -> None:
    if input_of(conversion.node, 1) is None:
        conversion.set_attributes(num_outputs=len(conversion.node.outputs))


def _scatter(conversion: Conversion) -> None:
    conversion.node.op_type = "ScatterElements"


def _computed_regions(conversion: Conversion) -> None:
    raise conversion.refuse(
        "it computes regions whose number is unknown, or with sampling_ratio=0; give a sampling_ratio"
    )


def _grid_sample_mode(conversion: Conversion) -> None:
    mode = get_str(conversion.node, "mode", "bilinear")
    conversion.set_attributes(mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


def _dft_axis(conversion: Conversion) -> None:
    """The default axis changed from 1 to -2 when it became an input."""
    if "axis" not in conversion.node.attributes:
        conversion.set_attributes(axis=1)
    _attribute_to_input("axis", 2, as_scalar=True)(conversion)


def _group_norm_per_channel(conversion: Conversion) -> None:
    """Before 21 scale and bias had one element a group, since then one a channel."""
    node = conversion.node
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    groups = get_int(node, "num_groups", 0)
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        raise conversion.refuse("the number of channels of its input is not known")
    for index, role in ((1, "scale"), (2, "bias")):
        value = node.inputs[index]
        if static_shape(value) == (channels,) and channels != groups:
            continue
        array = constant(value)
        if array is None:
            raise conversion.refuse(f"its {role} is not a constant")
        node.replace_input_with(index, conversion.constant(role, np.repeat(array, channels // groups)))


_AXES = ((18, _attribute_to_input("axes", 1)),)
_SOFTMAX = ((13, _coerced_softmax),)
_RESIZE = ((11, _resize_from_10), (18, _resize_optional_inputs))

CHANGES: dict[str, tuple[tuple[int, Callable[[Conversion], None]], ...]] = {
    "BatchNormalization": (
        (9, _batch_norm_per_channel),
        (14, _batch_norm_inference),
    ),
    "Clip": ((11, _clip_limits),),
    "DFT": ((20, _dft_axis),),
    "Dropout": ((12, _dropout_inputs),),
    "GridSample": ((20, _grid_sample_mode),),
    "GroupNormalization": ((21, _group_norm_per_channel),),
    "Hardmax": _SOFTMAX,
    "LogSoftmax": _SOFTMAX,
    "Pad": ((11, _pad_inputs),),
    "ReduceL1": _AXES,
    "ReduceL2": _AXES,
    "ReduceLogSum": _AXES,
    "ReduceLogSumExp": _AXES,
    "ReduceMax": _AXES,
    "ReduceMean": _AXES,
    "ReduceMin": _AXES,
    "ReduceProd": _AXES,
    "ReduceSum": ((13, _attribute_to_input("axes", 1)),),
    "ReduceSumSquare": _AXES,
    "Resize": _RESIZE,
    "RoiAlign": ((22, _computed_regions),),
    "Scatter": ((11, _scatter),),
    "Slice": ((10, _slice_inputs),),
    "Softmax": _SOFTMAX,
    "Split": ((13, _attribute_to_input("split", 1)), (18, _split_count)),
    "Squeeze": ((13, _attribute_to_input("axes", 1)),),
    "TopK": ((10, _attribute_to_input("k", 1)),),
    "Unsqueeze": ((13, _attribute_to_input("axes", 1)),),
    "Upsample": ((9, _upsample_input), (10, _upsample), *_RESIZE),
}
"""Operator -> (first opset with the new form, change), ascending."""
