"""Random damage to ONNX models: attributes, shapes, dtypes, weights, edges, nodes, opsets and raw bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

_NUMBERS = (-(2**40), -7, -2, -1, 0, 1, 2, 3, 5, 64, 2**31, 2**62)
_FLOATS = (float("nan"), float("inf"), -1.0, 0.0, 1e-30, 0.5, 1e30)
_WORDS = (
    "",
    "linear",
    "nearest",
    "SAME_UPPER",
    "VALID",
    "constant",
    "reflect",
    "edge",
    "asymmetric",
    "tanh",
    "none",
    "é",
)
_OPERATORS = (
    "Relu", "Abs", "Softmax", "Transpose", "Identity", "Flatten", "Shape", "Size", "NonZero", "Sigmoid", "ReduceSum",
    "Add", "MatMul", "Div", "Concat", "Gemm", "Conv", "MaxPool", "Squeeze", "Cast", "Gather", "Where", "Sqrt", "None",
)  # fmt: skip
Rng = np.random.Generator
Mutation = Callable[[ModelProto, Rng], str]


def mutate(model: ModelProto, rng: Rng) -> tuple[bytes, str]:
    """A damaged copy of a model, as the bytes of a file, and what was done to it, in words.

    Args:
        model: a valid model; not changed.
        rng: decides everything.
    """
    if rng.random() < 0.12:
        return _damaged_bytes(model.SerializeToString(), rng)
    copy = ModelProto.FromString(model.SerializeToString())
    said = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a weight that is damaged already
            said.append(_MUTATIONS[int(rng.integers(len(_MUTATIONS)))](copy, rng))
    return copy.SerializeToString(), "; ".join(word for word in said if word)


def _damaged_bytes(data: bytes, rng: Rng) -> tuple[bytes, str]:
    kind = ("flip", "cut", "insert", "drop", "zero")[int(rng.integers(5))]
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    if kind == "flip":
        changed = bytearray(data)
        for place in rng.integers(0, min(len(data), 4000) if rng.random() < 0.5 else len(data), size=length):
            changed[int(place)] ^= 1 << int(rng.integers(8))
        return bytes(changed), f"{length} bits flipped"
    if kind == "cut":
        return data[:at], f"cut at byte {at}"
    if kind == "insert":
        return data[:at] + rng.bytes(length) + data[at:], f"{length} bytes inserted at {at}"
    if kind == "drop":
        return data[:at] + data[at + length :], f"{length} bytes dropped at {at}"
    return data[:at] + bytes(length) + data[at + length :], f"{length} bytes zeroed at {at}"


def _pick(items: object, rng: Rng) -> int:
    """A random index into a sequence; -1 for an empty one."""
    size = len(items)  # type: ignore[arg-type]
    return int(rng.integers(size)) if size else -1


def _node(model: ModelProto, rng: Rng) -> NodeProto | None:
    at = _pick(model.graph.node, rng)
    return None if at < 0 else model.graph.node[at]


def _weight(model: ModelProto, rng: Rng) -> TensorProto | None:
    found = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    return found[_pick(found, rng)] if found else None


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    return [*(v.name for v in graph.input), *(t.name for t in graph.initializer), *_outputs(model)]


def _outputs(model: ModelProto) -> Iterator[str]:
    return (name for node in model.graph.node for name in node.output if name)


def change_attribute(model: ModelProto, rng: Rng) -> str:
    nodes = [n for n in model.graph.node if n.attribute]
    if not nodes:
        return ""
    node = nodes[_pick(nodes, rng)]
    attribute = node.attribute[_pick(node.attribute, rng)]
    what = f"{node.op_type}.{attribute.name}"
    if attribute.type == AttributeProto.INT:
        attribute.i = _number(attribute.i, rng)
        return f"{what} = {attribute.i}"
    if attribute.type == AttributeProto.INTS and attribute.ints:
        at = _pick(attribute.ints, rng)
        attribute.ints[at] = _number(attribute.ints[at], rng)
        return f"{what} = {list(attribute.ints)}"
    if attribute.type == AttributeProto.FLOAT:
        attribute.f = _FLOATS[_pick(_FLOATS, rng)]
        return f"{what} = {attribute.f}"
    if attribute.type == AttributeProto.STRING:
        attribute.s = _WORDS[_pick(_WORDS, rng)].encode()
        return f"{what} = {attribute.s!r}"
    return drop_attribute(model, rng)


def _number(old: int, rng: Rng) -> int:
    return int(old + rng.integers(-2, 3)) if rng.random() < 0.6 else _NUMBERS[_pick(_NUMBERS, rng)]


def resize_attribute(model: ModelProto, rng: Rng) -> str:
    lists = [(n, a) for n in model.graph.node for a in n.attribute if a.type == AttributeProto.INTS]
    if not lists:
        return ""
    node, attribute = lists[_pick(lists, rng)]
    if attribute.ints and rng.random() < 0.5:
        del attribute.ints[-1]
    else:
        attribute.ints.append(int(rng.integers(-1, 4)))
    return f"{node.op_type}.{attribute.name} = {list(attribute.ints)}"


def drop_attribute(model: ModelProto, rng: Rng) -> str:
    nodes = [n for n in model.graph.node if n.attribute]
    if not nodes:
        return ""
    node = nodes[_pick(nodes, rng)]
    at = _pick(node.attribute, rng)
    name = node.attribute[at].name
    del node.attribute[at]
    return f"{node.op_type} without {name}"


def add_attribute(model: ModelProto, rng: Rng) -> str:
    node = _node(model, rng)
    if node is None:
        return ""
    known = ("axis", "alpha", "keepdims", "auto_pad", "ceil_mode", "dilations", "group", "transA", "to", "perm", "mood")
    name = known[_pick(known, rng)]
    if name in {a.name for a in node.attribute}:
        return change_attribute(model, rng)
    value = {"alpha": 0.5, "auto_pad": "SAME_UPPER", "dilations": [2, 2], "perm": [0]}.get(
        name, int(rng.integers(-2, 3))
    )
    node.attribute.append(onnx.helper.make_attribute(name, value))
    return f"{node.op_type}.{name} = {value}"


def rename_operator(model: ModelProto, rng: Rng) -> str:
    node = _node(model, rng)
    if node is None:
        return ""
    old, node.op_type = node.op_type, _OPERATORS[_pick(_OPERATORS, rng)]
    if rng.random() < 0.1:
        node.domain = ("com.microsoft", "nobody")[_pick("ab", rng)]
    return f"{old} becomes {node.domain}:{node.op_type}"


def drop_node(model: ModelProto, rng: Rng) -> str:
    at = _pick(model.graph.node, rng)
    if at < 0:
        return ""
    kind = model.graph.node[at].op_type
    del model.graph.node[at]
    return f"{kind} {at} dropped"


def bridge_node(model: ModelProto, rng: Rng) -> str:
    """A node is dropped and its readers take its first input instead."""
    nodes = [n for n in model.graph.node if n.input and n.output]
    if not nodes:
        return ""
    node = nodes[_pick(nodes, rng)]
    old, new = node.output[0], node.input[0]
    model.graph.node.remove(node)
    for other in model.graph.node:
        for at, name in enumerate(other.input):
            if name == old:
                other.input[at] = new
    return f"{node.op_type} bridged"


def repeat_node(model: ModelProto, rng: Rng) -> str:
    node = _node(model, rng)
    if node is None:
        return ""
    model.graph.node.append(node)
    if rng.random() < 0.7:
        for at, name in enumerate(node.output):
            model.graph.node[-1].output[at] = f"{name}/again"
        model.graph.node[-1].name = ""
    return f"{node.op_type} repeated"


def move_node(model: ModelProto, rng: Rng) -> str:
    node = _node(model, rng)
    if node is None:
        return ""
    copy = NodeProto.FromString(node.SerializeToString())
    model.graph.node.remove(node)
    model.graph.node.insert(_pick(model.graph.node, rng) + 1, copy)
    return f"{copy.op_type} moved"


def swap_inputs(model: ModelProto, rng: Rng) -> str:
    nodes = [n for n in model.graph.node if len(n.input) > 1]
    if not nodes:
        return ""
    node = nodes[_pick(nodes, rng)]
    a, b = rng.choice(len(node.input), size=2, replace=False)
    node.input[a], node.input[b] = node.input[b], node.input[a]
    return f"inputs {a} and {b} of {node.op_type} swapped"


def rewire_input(model: ModelProto, rng: Rng) -> str:
    nodes = [n for n in model.graph.node if n.input]
    names = [*_names(model), "", "nowhere"]
    if not nodes:
        return ""
    node = nodes[_pick(nodes, rng)]
    at = _pick(node.input, rng)
    node.input[at] = names[_pick(names, rng)]
    return f"input {at} of {node.op_type} is {node.input[at]!r}"


def change_input_count(model: ModelProto, rng: Rng) -> str:
    node = _node(model, rng)
    if node is None:
        return ""
    if node.input and rng.random() < 0.5:
        del node.input[-1]
    else:
        names = _names(model)
        node.input.append(names[_pick(names, rng)])
    return f"{node.op_type} has {len(node.input)} inputs"


def change_weight_dtype(model: ModelProto, rng: Rng) -> str:
    weight = _weight(model, rng)
    if weight is None:
        return ""
    old, weight.data_type = weight.data_type, int(rng.integers(0, 24))
    return f"weight {weight.name!r} of type {old} is of type {weight.data_type}"


def cast_weight(model: ModelProto, rng: Rng) -> str:
    """The same numbers in another type, with bytes that fit."""
    weight = _weight(model, rng)
    if weight is None or weight.data_type not in (TensorProto.FLOAT, TensorProto.INT64):
        return ""
    types = (np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.bool_)
    dtype = types[_pick(types, rng)]
    with np.errstate(all="ignore"):
        array = onnx.numpy_helper.to_array(weight).astype(dtype)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return f"weight {weight.name!r} as {array.dtype}"


def change_weight_shape(model: ModelProto, rng: Rng) -> str:
    weight = _weight(model, rng)
    if weight is None:
        return ""
    if weight.dims and rng.random() < 0.5:
        at = _pick(weight.dims, rng)
        weight.dims[at] = _number(weight.dims[at], rng)
    elif len(weight.dims) > 1:
        order = rng.permutation(len(weight.dims))
        weight.dims[:] = [weight.dims[int(i)] for i in order]
    else:
        weight.dims.append(1)
    return f"weight {weight.name!r} has dims {list(weight.dims)}"


def resize_weight(model: ModelProto, rng: Rng) -> str:
    """Another shape, with as many bytes as it says."""
    weight = _weight(model, rng)
    if weight is None or weight.data_type not in (TensorProto.FLOAT, TensorProto.INT64) or not weight.dims:
        return ""
    array = onnx.numpy_helper.to_array(weight)
    axis = _pick(array.shape, rng)
    if rng.random() < 0.5 and array.shape[axis] > 0:
        array = np.delete(array, -1, axis)
    else:
        array = np.concatenate([array, array], axis)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), weight.name))
    return f"weight {weight.name!r} resized to {array.shape}"


def change_weight_values(model: ModelProto, rng: Rng) -> str:
    weight = _weight(model, rng)
    if weight is None or weight.data_type not in (TensorProto.FLOAT, TensorProto.INT64):
        return ""
    array = np.array(onnx.numpy_helper.to_array(weight))
    if not array.size:
        return ""
    value = _FLOATS[_pick(_FLOATS, rng)] if array.dtype.kind == "f" else _NUMBERS[_pick(_NUMBERS, rng)]
    if rng.random() < 0.3:
        array[...] = value
    else:
        array.reshape(-1)[_pick(range(array.size), rng)] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return f"{value} in weight {weight.name!r}"


def cut_weight(model: ModelProto, rng: Rng) -> str:
    weight = _weight(model, rng)
    if weight is None:
        return ""
    weight.raw_data = weight.raw_data[: int(rng.integers(len(weight.raw_data) + 1))]
    return f"weight {weight.name!r} cut to {len(weight.raw_data)} bytes"


def drop_weight(model: ModelProto, rng: Rng) -> str:
    at = _pick(model.graph.initializer, rng)
    if at < 0:
        return ""
    name = model.graph.initializer[at].name
    del model.graph.initializer[at]
    return f"weight {name!r} dropped"


def change_interface(model: ModelProto, rng: Rng) -> str:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not values:
        return ""
    value = values[_pick(values, rng)]
    kind = value.type.tensor_type
    if rng.random() < 0.4:
        kind.elem_type = int(rng.integers(0, 17))
        return f"{value.name!r} is of type {kind.elem_type}"
    dims = kind.shape.dim
    if dims and rng.random() < 0.6:
        at = _pick(dims, rng)
        if rng.random() < 0.3:
            dims[at].dim_param = "N"
        else:
            dims[at].dim_value = _number(dims[at].dim_value, rng)
    elif dims and rng.random() < 0.5:
        del dims[-1]
    else:
        dims.add().dim_value = 1
    return f"{value.name!r} has shape {[d.dim_value or d.dim_param for d in dims]}"


def change_outputs(model: ModelProto, rng: Rng) -> str:
    names = _names(model)
    if not model.graph.output or not names:
        return ""
    name = names[_pick(names, rng)]
    if rng.random() < 0.5:
        model.graph.output.add().name = name
        return f"{name!r} is an output too"
    model.graph.output[_pick(model.graph.output, rng)].name = name
    return f"{name!r} is the output"


def rename_value(model: ModelProto, rng: Rng) -> str:
    """One end of an edge is renamed, so that it dangles or two values share a name."""
    node = _node(model, rng)
    if node is None or not node.output:
        return ""
    names = [*_names(model), "", "new name"]
    at = _pick(node.output, rng)
    old, node.output[at] = node.output[at], names[_pick(names, rng)]
    return f"output {old!r} of {node.op_type} renamed {node.output[at]!r}"


def change_opset(model: ModelProto, rng: Rng) -> str:
    if not model.opset_import or rng.random() < 0.2:
        model.ir_version = int(rng.integers(0, 16))
        return f"IR version {model.ir_version}"
    entry = model.opset_import[_pick(model.opset_import, rng)]
    entry.version = int(rng.integers(-1, 30))
    return f"opset {entry.domain}:{entry.version}"


_MUTATIONS: tuple[Mutation, ...] = (
    change_attribute, change_attribute, resize_attribute, drop_attribute, add_attribute, rename_operator, drop_node,
    bridge_node, bridge_node, repeat_node, move_node, swap_inputs, rewire_input, rewire_input, change_input_count,
    change_weight_dtype, cast_weight, change_weight_shape, resize_weight, change_weight_values, change_weight_values,
    cut_weight, drop_weight, change_interface, change_outputs, rename_value, change_opset,
)  # fmt: skip
