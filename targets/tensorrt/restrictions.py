"""What TensorRT's ONNX parser demands of single operators, checked on nodes.

Sources: the column of restrictions in docs/operators.md of onnx/onnx-tensorrt, by version, and for what the tables do
not say builtin_op_importers.cpp and builtin_op_static_checkers.cpp of its releases: their assertions, and for 8.4 what
they read otherwise than ONNX means it. The missing allowzero is github.com/NVIDIA/TensorRT/issues/1598; that vectors do
not meet batches is what TensorRT for RTX 1.7.1 (the generation of 11) says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnx_ir as ir

from edgeport.targets.tensorrt.version import Version

Broken = tuple[str, Version | None]
"""What is broken, and the first TensorRT that takes it, None where none does."""
Check = Callable[[ir.Node, Version], Iterator[Broken]]

_CONSTANTS: dict[tuple[str, int], Version | None] = {
    ("CumSum", 1): Version(10, 8),
    ("InstanceNormalization", 1): Version(10, 0),
    ("InstanceNormalization", 2): Version(10, 0),
    ("OneHot", 1): None,
    ("Slice", 3): Version(10, 3),
    ("Split", 1): Version(8, 2),
    ("Squeeze", 1): None,
    ("STFT", 1): None,
    ("STFT", 2): None,
    ("TopK", 1): Version(8, 6),
    ("Unsqueeze", 1): None,
    **{
        (f"Reduce{kind}", 1): None
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}
"""Inputs that must be initializers -> the first version that computes them, None if none does."""
MOST_K = 3840
"""Of TopK."""

_CHECKS: dict[str, Check] = {}


def broken(node: ir.Node, version: Version) -> Iterator[Broken]:
    """The restrictions of that TensorRT's parser that a node of an operator that it has breaks."""
    for index, value in enumerate(node.inputs):
        key = (node.op_type, index)
        if value is None or value.const_value is not None or key not in _CONSTANTS:
            continue
        since = _CONSTANTS[key]
        if since is None or version < since:
            yield f"input {index} ({value.name}) must be an initializer", since
    if node.op_type in _CHECKS:
        yield from _CHECKS[node.op_type](node, version)


def _checks(*op_types: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        for op_type in op_types:
            assert op_type not in _CHECKS, op_type
            _CHECKS[op_type] = check
        return check

    return register


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    found = node.attributes.get(name)
    if found is None:
        return default
    return found.as_string() if isinstance(default, str) else found.value


def _rank(node: ir.Node, index: int = 0) -> int | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.shape is None else len(value.shape)


def _used(node: ir.Node, index: int) -> bool:
    return index < len(node.outputs) and bool(
        node.outputs[index].name and (node.outputs[index].uses() or node.outputs[index].is_graph_output())
    )


@_checks("Conv", "ConvTranspose")
def _convolution(node: ir.Node, version: Version) -> Iterator[Broken]:
    rank = _rank(node)
    if rank is not None and not 3 <= rank <= 5:
        yield f"windows over {rank - 2} axes; TensorRT has them over one to three", None
    weight = node.inputs[1]
    maker = None if weight is None else weight.producer()
    computed = weight is not None and weight.const_value is None
    if computed and version < Version(8, 5) and (maker is None or maker.op_type != "DequantizeLinear"):
        yield f"its weights ({weight.name if weight else None}) must be an initializer", Version(8, 5)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.const_value is None:
        maker = bias.producer()
        since = Version(10, 0) if maker is not None and maker.op_type == "DequantizeLinear" else None
        if since is None or version < since:
            yield f"its bias ({bias.name}) must be an initializer", since


@_checks("AveragePool", "MaxPool", "LpPool")
def _pool(node: ir.Node, version: Version) -> Iterator[Broken]:
    rank = _rank(node)
    if rank is not None and not 3 <= rank <= 5:
        yield f"windows over {rank - 2} axes; TensorRT has them over up to three", None
    if any(step != 1 for step in _attribute(node, "dilations", ())):
        yield "its windows have dilations", None
    if node.op_type == "MaxPool" and _used(node, 1):
        yield "its indices are used", None
    if node.op_type == "LpPool" and _attribute(node, "p", 2) not in (1, 2):
        yield f"p is {_attribute(node, 'p', 2)}; TensorRT has 1 and 2", None


@_checks("LpNormalization")
def _norm(node: ir.Node, version: Version) -> Iterator[Broken]:
    if _attribute(node, "p", 2) not in (1, 2):
        yield f"p is {_attribute(node, 'p', 2)}; TensorRT has 1 and 2", None


@_checks("BatchNormalization")
def _batch_norm(node: ir.Node, version: Version) -> Iterator[Broken]:
    if _attribute(node, "training_mode", 0):
        yield "it is in training mode", None


@_checks("InstanceNormalization")
def _instance_norm(node: ir.Node, version: Version) -> Iterator[Broken]:
    rank = _rank(node)
    if rank is not None and not 3 <= rank <= 5 and version < Version(10, 0):
        yield f"its input has {rank} axes; TensorRT before 10 takes 3 to 5", Version(10, 0)


@_checks("LayerNormalization")
def _layer_norm(node: ir.Node, version: Version) -> Iterator[Broken]:
    if _used(node, 1) or _used(node, 2):
        yield "its mean or deviation is used; TensorRT gives the first output only", None


@_checks("Einsum")
def _einsum(node: ir.Node, version: Version) -> Iterator[Broken]:
    terms = _attribute(node, "equation", "").replace(" ", "").replace("->", ",").split(",")
    if version < Version(10, 12) and any("." in term or len(set(term)) < len(term) for term in terms):
        yield "its equation has an ellipsis or a diagonal", Version(10, 12)


@_checks("GridSample")
def _grid_sample(node: ir.Node, version: Version) -> Iterator[Broken]:
    rank = _rank(node)
    if rank is not None and rank != 4 and version < Version(11, 0):
        yield f"its input has {rank} axes; TensorRT before 11 takes 4", Version(11, 0)


@_checks("GRU", "LSTM", "RNN")
def _recurrent(node: ir.Node, version: Version) -> Iterator[Broken]:
    if _attribute(node, "layout", 0):
        yield "layout is 1; TensorRT takes 0", None
    if _attribute(node, "input_forget", 0):
        yield "input_forget is 1; TensorRT takes 0", None
    names = list(_attribute(node, "activations", ()))
    half = len(names) // 2
    if _attribute(node, "direction", "forward") == "bidirectional" and names[:half] != names[half:]:
        yield "its two directions have different activations", None


@_checks("MatMul")
def _matmul(node: ir.Node, version: Version) -> Iterator[Broken]:
    ranks = [_rank(node, index) for index in (0, 1)]
    if 1 in ranks and max(rank or 0 for rank in ranks) > 2:
        yield "a vector and more than a matrix: TensorRT aligns the vector with the batch", None


@_checks("Constant")
def _constant(node: ir.Node, version: Version) -> Iterator[Broken]:
    if any(name in node.attributes for name in ("sparse_value", "value_string", "value_strings")):
        yield "it is sparse or of strings", None
    if version < Version(8, 5) and any(name in node.attributes for name in ("value_int", "value_ints")):
        yield "value_int is read as the bits of a float", Version(8, 5)


@_checks("Reshape")
def _reshape(node: ir.Node, version: Version) -> Iterator[Broken]:
    opset = node.graph.opset_imports.get("", 0) if node.graph is not None else 0
    if opset >= 14 and "allowzero" not in node.attributes and version < Version(8, 4, 2):
        yield "allowzero is not said", Version(8, 5)


@_checks("Shape")
def _shape(node: ir.Node, version: Version) -> Iterator[Broken]:
    if version < Version(8, 5) and ("start" in node.attributes or "end" in node.attributes):
        yield "it gives a part of the shape; older parsers give all of it", Version(8, 5)


@_checks("Where")
def _where(node: ir.Node, version: Version) -> Iterator[Broken]:
    value = node.inputs[1]
    if version < Version(8, 5) and value is not None and value.dtype == ir.DataType.BOOL:
        yield "it chooses between bools", Version(8, 5)


@_checks("Pad")
def _pad(node: ir.Node, version: Version) -> Iterator[Broken]:
    mode = _attribute(node, "mode", "constant")
    if mode == "wrap" and version < Version(10, 0):
        yield "mode is wrap", Version(10, 0)
    if mode != "constant" and version < Version(8, 2):
        yield f"mode is {mode}; TensorRT before 8.2 pads with zeros only", Version(8, 2)
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    number = None if fill is None or fill.const_value is None else fill.const_value.numpy()
    if number is not None and number.any() and version < Version(8, 2):
        yield "it pads with another number than zero", Version(8, 2)
    elif number is not None and number.any() and number.dtype.kind in "iu" and version < Version(8, 5):
        yield "it pads integers with another number than zero, which is read as the bits of a float", Version(8, 5)
    if len(node.inputs) > 3 and node.inputs[3] is not None and version < Version(10, 4):
        yield "its axes are an input", Version(10, 4)


@_checks("Resize")
def _resize(node: ir.Node, version: Version) -> Iterator[Broken]:
    mode = _attribute(node, "mode", "nearest")
    coordinates = _attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = _attribute(node, "nearest_mode", "round_prefer_floor")
    if mode == "cubic" and version < Version(8, 5):
        yield "mode is cubic", Version(8, 5)
    if coordinates in ("tf_crop_and_resize", "half_pixel_symmetric"):
        yield f"coordinate_transformation_mode is {coordinates}", None
    if coordinates == "tf_half_pixel_for_nn" and rounding != "round_prefer_floor":
        yield f"nearest_mode is {rounding} with tf_half_pixel_for_nn; TensorRT rounds down there", None
    if _attribute(node, "antialias", 0):
        yield "it is antialiased", None
    if _attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        yield "keep_aspect_ratio_policy is another than stretch", None


@_checks("ScatterElements", "ScatterND")
def _scatter(node: ir.Node, version: Version) -> Iterator[Broken]:
    reduction = _attribute(node, "reduction", "none")
    since = Version(10, 0) if node.op_type == "ScatterElements" else None
    if reduction != "none" and (since is None or version < since):
        yield f"reduction is {reduction}", since


@_checks("TopK")
def _top_k(node: ir.Node, version: Version) -> Iterator[Broken]:
    count = node.inputs[1] if len(node.inputs) > 1 else None
    if count is not None and count.const_value is not None and count.const_value.numpy().max() > MOST_K:
        yield f"K is above {MOST_K:,}", None
    if not _attribute(node, "largest", 1) and version < Version(8, 5):
        yield "it looks for the smallest; older parsers look for the largest whatever it says", Version(8, 5)
