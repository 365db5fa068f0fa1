"""Each operator whose meaning or form changed since opset 7 gives the same numbers at the canonical opset."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeport.errors import ModelError
from edgeport.passes import CANONICAL_OPSET, canonicalize


def one_node(op: str, opset: int, shapes: dict[str, tuple[int, ...]], outputs: int = 1, dtype: int = 1, **attributes):
    """A model of one operator with float inputs; the shapes of its outputs are left open."""
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, list(shapes), names, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, dtype, None) for name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


CASES = {
    "softmax coerces to 2-D": one_node("Softmax", 11, {"x": (2, 3, 4, 5)}, axis=1),
    "softmax default axis": one_node("Softmax", 9, {"x": (2, 3, 4)}),
    "softmax negative axis": one_node("Softmax", 11, {"x": (2, 3, 4)}, axis=-2),
    "softmax over channels of 1x1": one_node("Softmax", 11, {"x": (2, 3, 1, 1)}, axis=1),
    "log softmax axis 0": one_node("LogSoftmax", 12, {"x": (2, 3)}, axis=0),
    "hardmax": one_node("Hardmax", 11, {"x": (2, 3, 4)}, axis=1),
    "clip attributes": one_node("Clip", 9, {"x": (3, 4)}, min=-0.5, max=0.25),
    "clip only max": one_node("Clip", 9, {"x": (3, 4)}, max=0.25),
    "clip unlimited": one_node("Clip", 9, {"x": (3, 4)}),
    "pad constant": one_node("Pad", 9, {"x": (2, 3)}, pads=[1, 0, 0, 2], value=1.5),
    "pad negative": one_node("Pad", 9, {"x": (2, 3)}, pads=[0, -1, 1, 0]),
    "pad reflect": one_node("Pad", 9, {"x": (3, 4)}, pads=[0, 2, 0, 1], mode="reflect"),
    "slice attributes": one_node("Slice", 9, {"x": (4, 5)}, starts=[1, -3], ends=[9999, -1], axes=[0, 1]),
    "slice without axes": one_node("Slice", 9, {"x": (4, 5)}, starts=[1], ends=[3]),
    "upsample-7": one_node("Upsample", 7, {"x": (1, 2, 3, 4)}, scales=[1.0, 1.0, 2.0, 3.0]),
    "batch norm-7": one_node("BatchNormalization", 7, {n: (1, 2, 3) if n == "x" else (2,) for n in "xsbmv"}, spatial=1),
    "sum-7": one_node("Sum", 7, {"a": (2, 3), "b": (2, 3)}),
    "upsample nearest": (one_node("Upsample", 9, {"x": (1, 2, 3, 4), "s": (4,)}), [1, 1, 2, 3]),
    "upsample linear": (one_node("Upsample", 9, {"x": (1, 2, 3, 4), "s": (4,)}, mode="linear"), [1, 1, 2, 2]),
    "resize-10 nearest up": (one_node("Resize", 10, {"x": (1, 1, 3, 4), "s": (4,)}), [1, 1, 2.5, 2]),
    "resize-10 nearest down": (one_node("Resize", 10, {"x": (1, 1, 7, 9), "s": (4,)}), [1, 1, 0.6, 0.5]),
    "resize-10 nearest mixed": (one_node("Resize", 10, {"x": (1, 1, 7, 4), "s": (4,)}), [1, 1, 0.4, 1.7]),
    "resize-10 linear": (one_node("Resize", 10, {"x": (1, 1, 5, 4), "s": (4,)}, mode="linear"), [1, 1, 0.6, 1.5]),
    "squeeze": one_node("Squeeze", 11, {"x": (1, 3, 1, 2)}, axes=[0, 2]),
    "squeeze all": one_node("Squeeze", 11, {"x": (1, 3, 1, 2)}),
    "unsqueeze": one_node("Unsqueeze", 11, {"x": (3, 2)}, axes=[0, 3]),
    "reduce sum": one_node("ReduceSum", 11, {"x": (2, 3, 4)}, axes=[1], keepdims=0),
    "reduce sum all": one_node("ReduceSum", 11, {"x": (2, 3, 4)}),
    "reduce mean": one_node("ReduceMean", 13, {"x": (2, 3, 4)}, axes=[-1]),
    "reduce max": one_node("ReduceMax", 9, {"x": (2, 3, 4)}, axes=[0, 2], keepdims=0),
    "reduce l2": one_node("ReduceL2", 11, {"x": (2, 3, 4)}, axes=[2]),
    "split sizes": one_node("Split", 11, {"x": (2, 6)}, outputs=3, axis=1, split=[1, 2, 3]),
    "split equal": one_node("Split", 13, {"x": (6, 2)}, outputs=3),
    "dropout with ratio": one_node("Dropout", 9, {"x": (2, 6)}, ratio=0.7),
    "average pool ceil": one_node(
        "AveragePool", 11, {"x": (1, 2, 7, 7)}, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1
    ),
    "average pool counts padding": one_node(
        "AveragePool", 9, {"x": (1, 2, 7, 7)}, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "grid sample bicubic": one_node("GridSample", 16, {"x": (1, 2, 5, 5), "g": (1, 3, 3, 2)}, mode="bicubic"),
    "grid sample default": one_node("GridSample", 16, {"x": (1, 2, 5, 5), "g": (1, 3, 3, 2)}),
    "dft default axis": one_node("DFT", 17, {"x": (1, 4, 6, 1)}),
    "prelu": one_node("PRelu", 9, {"x": (1, 3, 4), "slope": (3, 1)}),
    "gemm": one_node("Gemm", 9, {"a": (3, 2), "b": (3, 4), "c": (4,)}, transA=1, alpha=0.5, beta=2.0),
    "flatten": one_node("Flatten", 9, {"x": (2, 3, 4)}, axis=2),
}


@pytest.mark.parametrize("name", CASES)
def test_same_numbers(check, name):
    case = CASES[name]
    proto, scales = case if isinstance(case, tuple) else (case, None)
    constants = {} if scales is None else {"s": np.asarray(scales, np.float32)}
    checked = check(proto, "lift_constants", "convert_version", initializers=constants)
    assert checked.model.opset_imports[""] == CANONICAL_OPSET


def test_topk_attribute(check):
    proto = one_node("TopK", 9, {"x": (3, 7)}, outputs=2, axis=1, k=3)
    proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    check(proto, "convert_version")


def test_scatter_was_renamed(check):
    text = """<ir_version: 7, opset_import: ["": 9]>
    g (float[3,4] x, float[1,4] u) => (float[3,4] y) <int64[1,4] i = {0, 1, 2, 1}> { y = Scatter<axis = 0>(x, i, u) }"""
    assert check(text, "convert_version").ops == {"ScatterElements": 1}


@pytest.mark.parametrize("opset", [9, 13, 15])
def test_batch_normalization(check, opset):
    text = f"""<ir_version: 7, opset_import: ["": {opset}]>
    g (float[2,3,4] x) => (float[2,3,4] y)
    <float[3] s = {{1.5, 0.5, 2}}, float[3] b = {{0, 1, 2}}, float[3] m = {{0.1, 0.2, 0.3}}, float[3] v = {{1, 2, 3}}>
    {{ y = BatchNormalization<epsilon = 0.01>(x, s, b, m, v) }}"""
    check(text, "convert_version")


def test_batch_normalization_in_training_is_refused():
    text = """<ir_version: 7, opset_import: ["": 9]>
    g (float[2,3,4] x) => (float[2,3,4] y, float[3] rm)
    <float[3] s = {1, 1, 1}, float[3] b = {0, 0, 0}, float[3] m = {0, 0, 0}, float[3] v = {1, 1, 1}>
    { y, rm, rv, sm, sv = BatchNormalization(x, s, b, m, v) }"""
    with pytest.raises(ModelError, match="eval mode"):
        canonicalize(ir.serde.deserialize_model(onnx.parser.parse_model(text)))


def test_group_normalization_scales_per_group(check):
    text = """<ir_version: 9, opset_import: ["": 18]>
    g (float[2,4,3] x) => (float[2,4,3] y) <float[2] s = {1.5, 0.5}, float[2] b = {0.25, -1}>
    { y = GroupNormalization<num_groups = 2>(x, s, b) }"""
    check(text, "convert_version")


def test_resize_11_with_sizes_and_empty_scales(check):
    text = """<ir_version: 7, opset_import: ["": 11]>
    g (float[1,1,4,5] x) => (float[1,1,8,7] y) <float[0] empty = {}, int64[4] sizes = {1, 1, 8, 7}>
    { y = Resize<mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel">(x, empty, empty, sizes) }"""
    check(text, "convert_version")


def test_nodes_in_subgraphs_are_converted(check):
    text = """<ir_version: 7, opset_import: ["": 11]>
    g (bool c, float[2,3,4] x) => (float[2,3,4] y) {
        y = If (c) <
            then_branch = a () => (float[2,3,4] t) { t = Softmax<axis = 1>(x) },
            else_branch = b () => (float[2,3,4] e) { f = Clip(x) e = Relu(f) }
        >
    }"""
    check(text, "convert_version", seeds=(0, 1, 2, 3))


def test_functions_are_inlined(check):
    text = """<ir_version: 8, opset_import: ["": 11, "my": 1]>
    g (float[2,3,4] x) => (float[2,3,4] y) { t = my.f(x) y = my.f(t) }
    <domain: "my", opset_import: ["": 11]> f (a) => (b) { c = Softmax<axis = 1>(a) b = Relu(c) }"""
    assert check(text, "inline_functions", "convert_version").ops["Softmax"] == 2


def test_function_of_another_opset_is_refused_where_operators_differ():
    text = """<ir_version: 8, opset_import: ["": 15, "my": 1]>
    g (float[2,3,4] x) => (float[2,3,4] y) { y = my.f(x) }
    <domain: "my", opset_import: ["": 11]> f (a) => (b) { b = Softmax<axis = 1>(a) }"""
    with pytest.raises(ModelError, match="'f' uses Softmax of opset 11"):
        canonicalize(ir.serde.deserialize_model(onnx.parser.parse_model(text)))


def test_newer_model_without_newer_operators_is_relabelled(check):
    text = """<ir_version: 10, opset_import: ["": 25]>
    g (float[2,3,4] x) => (float[2,12] y) <int64[2] s = {2, 12}> { y = Reshape(x, s) }"""
    proto = onnx.parser.parse_model(text)
    assert canonicalize(ir.serde.deserialize_model(proto)).opset_imports[""] == CANONICAL_OPSET


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("g (float[4] x) => (int32[4] y) { y = BitCast<to = 6>(x) }", "BitCast"),
        ("g (float[4] x) => (float[4] y) { y = NoSuchOperator(x) }", "NoSuchOperator"),
        (
            "g (float[1,2,8,8] x, float[2,4] r) => (float[2,2,3,3] y) <int64[2] i = {0, 0}>"
            "{ y = RoiAlign<output_height = 3, output_width = 3>(x, r, i) }",
            "RoiAlign",
        ),
    ],
)
def test_what_cannot_be_expressed_is_named(text, names):
    opset = 16 if names == "RoiAlign" else 26
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')
    with pytest.raises(ModelError, match=names) as caught:
        canonicalize(ir.serde.deserialize_model(proto))
    assert [finding.op for finding in caught.value.findings] == [names]


def test_older_operators_are_read_if_they_never_changed():
    not_ = helper.make_graph(
        [helper.make_node("Not", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.BOOL, [2])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [2])],
    )
    model = helper.make_model(not_, opset_imports=[helper.make_opsetid("", 1)], ir_version=3)
    assert canonicalize(ir.serde.deserialize_model(model)).opset_imports[""] == CANONICAL_OPSET
    with pytest.raises(ModelError, match="Add .*changed between opset 6 and 7"):
        canonicalize(ir.serde.deserialize_model(one_node("Add", 6, {"a": (2,), "b": (2,)})))


def test_unknown_domains_are_left_alone():
    text = """<ir_version: 8, opset_import: ["": 11, "com.example": 3]>
    g (float[2] x) => (float[2] y) { a = com.example.Magic<k = 3>(x) y = Relu(a) }"""
    model = canonicalize(ir.serde.deserialize_model(onnx.parser.parse_model(text)))
    assert [(node.domain, node.op_type) for node in model.graph] == [("com.example", "Magic"), ("", "Relu")]
    assert model.opset_imports["com.example"] == 3
